// Many steps by a team whose members may not all have a processor: where another program has one, the others wait at
// every meeting for a member that does not run, and its first member alone is faster. Only time can tell. The plan is
// the same either way, and so are the bits.
#pragma once

#include <algorithm>
#include <atomic>

#include "execution/barrier.hpp"
#include "seam/views.hpp"

namespace fastbp {

// Says whether the first member should take the next step alone, from the times of the steps before, in any unit.
class Pace {
  public:
    bool alone() const { return alone_; }

    // A new series of steps, perhaps of another size.
    void start() { steps_ = 0, sum_ = 0; }

    // A step that was taken as alone() said.
    void took(double time) {
        if (++steps_ > 1) sum_ += time;  // the first finds its numbers in other processors' caches
        if (steps_ < length_) return;
        const double mean = sum_ / (steps_ - 1);
        if (tries_)
            judge(mean);
        else if (alone_ || usual_ == 0 || mean > worse * usual_)
            try_other(mean);
        start();
    }

  private:
    static constexpr int before_first_trial = 48, trial = 3, least_patience = 32, most_patience = 256;
    static constexpr double better = 0.95, worse = 1.25;

    void try_other(double mean) {
        other_ = mean;
        alone_ = !alone_;
        tries_ = true;
        length_ = trial;
    }
    void judge(double mean) {
        tries_ = false;
        if (mean < better * other_) {
            patience_ = least_patience;
        } else {
            alone_ = !alone_;
            patience_ = std::min(2 * patience_, most_patience);
        }
        usual_ = alone_ ? 0 : std::min(mean, other_);
        length_ = patience_;
    }

    bool alone_ = false, tries_ = false;
    int steps_ = 0, length_ = before_first_trial, patience_ = least_patience;
    double sum_ = 0, other_ = 0;
    double usual_ = 0;  // the team's time when it was last found to be the faster; 0: not compared yet
};

// How the first member tells the others to sleep through the next steps, and where to go on. It tells one step ahead,
// while they share a step; a member that comes to look only after it has been called again sees that by the calls.
class Baton {
  public:
    // By the first, before a step that the team shares.
    void tell_next(Index step, bool alone) {
        alone_[(step + 1) & 1].store(alone ? step + 1 : none, std::memory_order_release);
    }
    // By the first, which was alone: goes on with the others from this place.
    void call(Index place) {
        place_ = place;
        calls_.fetch_add(1, std::memory_order_release);
        calls_.notify_all();
    }

    unsigned calls() const { return calls_.load(std::memory_order_acquire); }
    // By the others, which have answered so many calls.
    bool sleeps_through(Index step, unsigned answered) const {
        return alone_[step & 1].load(std::memory_order_acquire) == step || calls() != answered;
    }
    // Sleeps until the next call, and returns its place.
    Index wait(unsigned& answered) const {
        wait_for_change(calls_, answered, std::chrono::nanoseconds(0));
        ++answered;
        return place_;
    }
    void start() {
        for (auto& step : alone_) step.store(none, std::memory_order_relaxed);
    }

  private:
    static constexpr Index none = -1;

    std::atomic<Index> alone_[2] = {none, none};  // the step that the first takes alone, in turns
    Index place_ = 0;
    std::atomic<unsigned> calls_{0};
};

}  // namespace fastbp
