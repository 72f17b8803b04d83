// Stacks that one thread of the process changes between. A change makes no system call.
#pragma once

#include <setjmp.h>

#include <cstddef>

namespace cuda_emulation {

class Fiber {
  public:
    Fiber() = default;  // the stack that the process's thread has
    explicit Fiber(void (*body)());
    Fiber(const Fiber&) = delete;

    // Leaves this stack, on which the caller runs, and goes on where the other one was left, or begins its body.
    // Returns when another change comes back.
    void change_to(Fiber& other);

  private:
    static void begin();
    void arrive();

    void (*body_)() = nullptr;
    bool begun_ = false;
    jmp_buf left_;
    const void* bottom_ = nullptr;  // of the stack, for AddressSanitizer
    std::size_t size_ = 0;
    void* unused_frames_ = nullptr;
};

}  // namespace cuda_emulation
