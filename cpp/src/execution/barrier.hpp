// A team of threads, and where its members wait for each other: spin briefly, then sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace fastbp {

// One turn of a waiting loop: tells the processor that it is one.
inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits until the value is no longer `old`: spins for `spin_time`, then sleeps. A short spin is kind to others: a
// processor that sleeps can take the very thread that is waited for, where another program keeps that one from running.
// Returns how long it slept.
template <class T>
std::chrono::nanoseconds wait_for_change(const std::atomic<T>& value, T old,
                                         std::chrono::nanoseconds spin_time) noexcept {
    using namespace std::chrono;
    if (value.load(std::memory_order_acquire) != old) return nanoseconds(0);
    if (spin_time.count() > 0) {
        const auto end = steady_clock::now() + spin_time;
        do {
            for (int k = 0; k < 8; ++k) {
                relax();
                if (value.load(std::memory_order_acquire) != old) return nanoseconds(0);
            }
        } while (steady_clock::now() < end);
    }
    const auto asleep = steady_clock::now();
    while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
    return steady_clock::now() - asleep;
}

class Barrier {
  public:
    // `spin_time`: before a waiting member sleeps; 0 where there are more members than processors.
    explicit Barrier(int team, std::chrono::nanoseconds spin_time = default_spin)
        : team_(team), spin_time_(spin_time) {}
    virtual ~Barrier() = default;
    int team() const { return team_; }

    // Returns when all members have called it; what they wrote before is visible after.
    void barrier_wait() noexcept {
        if (team_ > 1) wait_for_team();
    }

    // How many times the members have met. All members see the same number between two barriers.
    unsigned phase() const { return phase_.load(std::memory_order_relaxed); }

    // In the child of a fork: the calling thread is the only one left, and waits for nobody.
    void dismiss_others() noexcept { team_ = 1; }

    // How long members have slept here for others that arrived late: the sum over members.
    void note_late(std::chrono::nanoseconds slept) { late_.fetch_add(slept.count(), std::memory_order_relaxed); }
    double late_seconds() const { return 1e-9 * double(late_.load(std::memory_order_relaxed)); }

    static constexpr std::chrono::microseconds default_spin{20};

  protected:
    // Virtual for tests, which run the members of a team in a chosen order.
    virtual void wait_for_team() noexcept {
        const unsigned mine = phase_.load(std::memory_order_acquire);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == team_) {
            arrived_.store(0, std::memory_order_relaxed);
            begin_phase(mine + 1);
            return;
        }
        const auto slept = wait_for_change(phase_, mine, spin_time_);
        if (slept.count() > 0) note_late(slept);
    }
    void begin_phase(unsigned number) noexcept {
        // notify_all looks for sleeping members. It must not look before the others can see the new number: a member
        // that falls asleep in between would not be woken.
        phase_.store(number, std::memory_order_seq_cst);
        phase_.notify_all();
    }

  private:
    int team_;
    const std::chrono::nanoseconds spin_time_;
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<unsigned> phase_{0};
    std::atomic<std::int64_t> late_{0};  // nanoseconds
};

// What became of a team's work.
struct TeamReport {
    int members = 1;          // that ran it
    double late_seconds = 0;  // that they slept for late members
};

// One thread's place in its team. Member 0 is the calling thread.
struct Member {
    int index;
    Barrier& barrier;

    int team() const { return barrier.team(); }
    bool first() const { return index == 0; }
    void barrier_wait() const noexcept { barrier.barrier_wait(); }
};

// What each member of a team does: a reference to the caller's body(Member), which throws nothing.
class TeamWork {
  public:
    template <class Body>
    explicit TeamWork(const Body& body)
        : body_(&body), call_([](const void* b, const Member& member) { (*static_cast<const Body*>(b))(member); }) {}

    void operator()(const Member& member) const { call_(body_, member); }

  private:
    const void* body_;
    void (*call_)(const void* body, const Member& member);
};

}  // namespace fastbp
