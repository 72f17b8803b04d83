// Where the members of a team wait for each other: spin briefly, then let others run.
#pragma once

#include <atomic>
#include <thread>

namespace fastbp {

class Barrier {
  public:
    explicit Barrier(int team) : team_(team) {}
    int team() const { return team_; }

    // Returns when all members have called it; what they wrote before is visible after.
    void meet() noexcept {
        if (team_ == 1) return;
        const unsigned mine = turn_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team_) {
            arrived_.store(0, std::memory_order_relaxed);
            turn_.store(mine + 1, std::memory_order_release);
            return;
        }
        for (int spin = 0; turn_.load(std::memory_order_acquire) == mine; ++spin)
            if (spin > spins_before_yield) std::this_thread::yield();
    }

  private:
    static constexpr int spins_before_yield = 2000;
    const int team_;
    std::atomic<int> arrived_{0};
    std::atomic<unsigned> turn_{0};
};

}  // namespace fastbp
