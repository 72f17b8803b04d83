#include "execution/lent_threads.hpp"

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
class LentTeam {
  public:
    LentTeam(int wanted, const TeamWork& work) : wanted_(wanted), work_(work) {}

    static void take(void* self, std::int32_t index, std::int32_t width) {
        LentTeam& lent = *static_cast<LentTeam*>(self);
        const int team = std::min(lent.wanted_, int(width));
        if (index < team) lent.be_member(index, team);
    }

    bool was_taken() const { return ready_.load(std::memory_order_acquire); }

  private:
    void be_member(int index, int team) {
        const auto spin = team <= available_threads() ? Barrier::default_spin : std::chrono::microseconds(0);
        if (index == 0) {
            barrier_.emplace(team, spin);
            ready_.store(true, std::memory_order_release);
            ready_.notify_all();
        } else {
            wait_for_change(ready_, false, spin);
        }
        const DefaultFloatingPointMode mode;
        work_(Member{index, *barrier_});
    }

    const int wanted_;
    const TeamWork& work_;
    std::atomic<bool> ready_{false};
    std::optional<Barrier> barrier_;  // outlives every member's wait: the lender returns when all have returned
};

}  // namespace

LentThreads::LentThreads(Run lender, void* pool) : run_(lender), pool_(pool) {}

bool LentThreads::forked() { return is_forked.load(std::memory_order_relaxed); }

void LentThreads::run(int team, const TeamWork& work) const {
    LentTeam lent(team, work);
    const CallersFloatingPointMode mode;  // the lender is code of the caller
    run_(pool_, LentTeam::take, &lent);
    if (!lent.was_taken()) throw Error(ErrorKind::runtime, "the lent threads returned without having been at work");
}

}  // namespace fastbp
