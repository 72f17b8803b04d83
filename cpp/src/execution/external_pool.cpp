#include "execution/external_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <optional>

#include "execution/threads.hpp"
#include "seam/error.hpp"
#include "system/floating_point_mode.hpp"

namespace fastbp {
namespace {

std::atomic<bool> is_forked{false};

void note_fork() { is_forked.store(true, std::memory_order_relaxed); }

// Registered when the library is loaded: a handler that is registered during a fork may not run.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, note_fork);

// One job, whose team is as large as the lender makes it. The first member finds out, the others wait for that.
class ExternalTeam {
  public:
    ExternalTeam(int wanted, const TeamWork& work) : wanted_(wanted), work_(work) {}

    static void take(void* self, std::int32_t index, std::int32_t width) {
        ExternalTeam& lent = *static_cast<ExternalTeam*>(self);
        const int team = std::min(lent.wanted_, int(width));
        if (index < team) lent.be_member(index, team);
    }

    bool was_taken() const { return ready_.load(std::memory_order_acquire); }
    TeamReport report() const { return {barrier_->team(), barrier_->late_seconds()}; }

    // For a lender that threw an exception: sends members away that wait for the first one, and waits for the others.
    void abandon() {
        if (!was_taken()) {
            is_abandoned_.store(true, std::memory_order_relaxed);
            ready_.store(true, std::memory_order_release);
            ready_.notify_all();
        }
        for (int inside = inside_.load(std::memory_order_acquire); inside != 0;
             inside = inside_.load(std::memory_order_acquire))
            wait_for_change(inside_, inside, Barrier::default_spin);
    }

  private:
    void be_member(int index, int team) {
        inside_.fetch_add(1, std::memory_order_relaxed);
        work_as_member(index, team);
        if (inside_.fetch_sub(1, std::memory_order_acq_rel) == 1) inside_.notify_one();
    }

    void work_as_member(int index, int team) {
        const auto spin = team <= available_threads() ? Barrier::default_spin : std::chrono::microseconds(0);
        if (index == 0) {
            barrier_.emplace(team, spin);
            ready_.store(true, std::memory_order_release);
            ready_.notify_all();
        } else {
            wait_for_change(ready_, false, spin);
            if (is_abandoned_.load(std::memory_order_relaxed)) return;
        }
        const DefaultFloatingPointMode mode;
        work_(Member{index, *barrier_});
    }

    const int wanted_;
    const TeamWork& work_;
    std::atomic<bool> ready_{false}, is_abandoned_{false};
    std::atomic<int> inside_{0};      // members at work or waiting for the first
    std::optional<Barrier> barrier_;  // outlives every member's wait: the lender returns when all have returned
};

}  // namespace

ExternalPool::ExternalPool(Run lender, void* pool) : run_(lender), pool_(pool) {}

bool ExternalPool::forked() { return is_forked.load(std::memory_order_relaxed); }

TeamReport ExternalPool::run(int team, const TeamWork& work) const {
    ExternalTeam lent(team, work);
    try {
        const CallersFloatingPointMode mode;  // the lender is code of the caller
        run_(pool_, ExternalTeam::take, &lent);
    } catch (...) {
        lent.abandon();
        throw Error(ErrorKind::runtime, "the net's pool threw an exception, expected it to return");
    }
    if (!lent.was_taken()) throw Error(ErrorKind::runtime, "the lent threads returned without having been at work");
    return lent.report();
}

}  // namespace fastbp
