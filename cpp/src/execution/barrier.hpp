// A team of threads, and where its members wait for each other: spin briefly, then sleep.
#pragma once

#include <atomic>

namespace fastbp {

// One turn of a waiting loop: tells the processor that it is one.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Barrier {
  public:
    // `spins`: turns before a waiting member sleeps; 0 where there are more members than processors.
    explicit Barrier(int team, int spins = 4000) : team_(team), spins_(spins) {}
    int team() const { return team_; }

    // Returns when all members have called it; what they wrote before is visible after.
    void meet() noexcept {
        if (team_ == 1) return;
        const unsigned mine = turn_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team_) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.store(mine + 1, std::memory_order_release);
            turn_.notify_all();
            return;
        }
        for (int spin = 0; spin < spins_; ++spin) {
            if (turn_.load(std::memory_order_acquire) != mine) return;
            relax();
        }
        while (turn_.load(std::memory_order_acquire) == mine) turn_.wait(mine, std::memory_order_acquire);
    }

  private:
    const int team_, spins_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> turn_{0};
};

// One thread's place in its team. Member 0 is the calling thread.
struct Member {
    int index;
    Barrier& barrier;

    int team() const { return barrier.team(); }
    bool first() const { return index == 0; }
    void meet() const noexcept { barrier.meet(); }
};

}  // namespace fastbp
