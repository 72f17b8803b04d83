// ucontext gives a stack its first frame; from then on _setjmp and _longjmp change between stacks, which unlike
// swapcontext leave the signal mask alone. The checked longjmp knows no second stack.
#undef _FORTIFY_SOURCE
#include "fibers.hpp"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_emulation {

namespace {

constexpr std::size_t stack_bytes = 256 * 1024, guard_bytes = 4096;

// The fiber that was left last and the one that comes, across the change itself. Launches come one at a time.
Fiber* leaving = nullptr;
Fiber* coming = nullptr;

}  // namespace

Fiber::Fiber(void (*body)()) : body_(body), size_(stack_bytes) {
    void* memory = mmap(nullptr, guard_bytes + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard_bytes, PROT_NONE) != 0) {
        std::perror("CUDA emulation: no memory for the stack of a thread");
        std::abort();
    }
    bottom_ = static_cast<char*>(memory) + guard_bytes;
}

void Fiber::begin() {
    coming->arrive();
    coming->body_();
}

// AddressSanitizer is told of the change, and tells where the stack lies that was left.
void Fiber::arrive() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(unused_frames_, &leaving->bottom_, &leaving->size_);
#endif
}

void Fiber::change_to(Fiber& other) {
    leaving = this;
    coming = &other;
    if (_setjmp(left_) == 0) {
#ifdef __SANITIZE_ADDRESS__
        __sanitizer_start_switch_fiber(&unused_frames_, other.bottom_, other.size_);
#endif
        if (other.body_ == nullptr || other.begun_) _longjmp(other.left_, 1);
        other.begun_ = true;
        ucontext_t first;
        getcontext(&first);
        first.uc_stack.ss_sp = const_cast<void*>(other.bottom_);
        first.uc_stack.ss_size = other.size_;
        first.uc_link = nullptr;
        makecontext(&first, &Fiber::begin, 0);
        setcontext(&first);
    }
    arrive();
}

}  // namespace cuda_emulation
