// The floating-point mode of a thread: how it rounds, whether it flushes subnormal numbers to zero, and which
// exceptions trap. The library computes in the default mode, so that its results do not depend on the calling thread's
// mode, and runs callbacks in the mode of their caller.
#pragma once

#include <cstdint>

namespace fastbp {

// The control bits of the calling thread.
class FloatingPointControl {
  public:
#if defined(__x86_64__)
    static FloatingPointControl now() {
        FloatingPointControl control;
        control.sse_ = __builtin_ia32_stmxcsr();
        asm volatile("fnstcw %0" : "=m"(control.x87_));
        return control;
    }
    bool is_default() const { return (sse_ & ~sse_flags) == default_sse && (x87_ & x87_bits) == default_x87; }
    void apply() const {
        __builtin_ia32_ldmxcsr(sse_);
        asm volatile("fldcw %0" : : "m"(x87_));
    }

  private:
    static constexpr std::uint32_t sse_flags = 0x3f, default_sse = 0x1f80;
    static constexpr std::uint16_t x87_bits = 0x0f3f, default_x87 = 0x033f;
    std::uint32_t sse_ = default_sse;
    std::uint16_t x87_ = 0x037f;
#elif defined(__aarch64__)
    static FloatingPointControl now() {
        FloatingPointControl control;
        asm volatile("mrs %0, fpcr" : "=r"(control.fpcr_));
        return control;
    }
    bool is_default() const { return fpcr_ == 0; }
    void apply() const { asm volatile("msr fpcr, %0" : : "r"(fpcr_)); }

  private:
    std::uint64_t fpcr_ = 0;
#else
    static FloatingPointControl now() { return {}; }
    bool is_default() const { return true; }
    void apply() const {}
#endif
};

// The default mode for a scope; the mode found before is restored at its end.
class DefaultFloatingPointMode {
  public:
    DefaultFloatingPointMode() : before_(FloatingPointControl::now()), outer_(innermost) {
        innermost = this;
        if (!before_.is_default()) FloatingPointControl().apply();
    }
    ~DefaultFloatingPointMode() {
        innermost = outer_;
        if (!before_.is_default()) before_.apply();
    }
    DefaultFloatingPointMode(const DefaultFloatingPointMode&) = delete;
    DefaultFloatingPointMode& operator=(const DefaultFloatingPointMode&) = delete;

  private:
    friend class CallersFloatingPointMode;
    static inline constinit thread_local DefaultFloatingPointMode* innermost = nullptr;
    FloatingPointControl before_;
    DefaultFloatingPointMode* const outer_;
};

// The mode of the caller for a scope within DefaultFloatingPointMode. If the code in the scope changes its mode, the
// caller finds the change after the call.
class CallersFloatingPointMode {
  public:
    CallersFloatingPointMode() : call_(DefaultFloatingPointMode::innermost) {
        if (call_ != nullptr && !call_->before_.is_default()) call_->before_.apply();
    }
    ~CallersFloatingPointMode() {
        if (call_ == nullptr) return;
        call_->before_ = FloatingPointControl::now();
        if (!call_->before_.is_default()) FloatingPointControl().apply();
    }
    CallersFloatingPointMode(const CallersFloatingPointMode&) = delete;
    CallersFloatingPointMode& operator=(const CallersFloatingPointMode&) = delete;

  private:
    DefaultFloatingPointMode* const call_;
};

}  // namespace fastbp
