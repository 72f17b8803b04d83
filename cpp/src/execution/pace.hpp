// Many steps, or calls, by a team whose members may not all have a processor: where another program has one, the others
// wait at every meeting for a member that does not run, and its first member alone is faster. Only time can tell. The
// plan is the same either way, and so are the bits.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>

#include "execution/barrier.hpp"
#include "seam/views.hpp"

namespace fastbp {

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What takes a time of its own by one plan: each has its Pace.
enum class Work { forward, backward, gradient, step };
constexpr std::size_t kinds_of_work = 4;

// Says whether the first member should take the next step alone, from the times of the steps before, in seconds. It
// goes on as it is for a while, tries the other way for a moment, and stays with what is faster.
class Pace {
  public:
    bool alone() const { return alone_; }

    // A step from `begin` to `end` that was taken as alone() said.
    void took(double begin, double end) {
        if (begin - last_end_ > pause) start_again();
        if (steps_ == 0) begin_turn(begin);
        last_end_ = end;
        ++steps_;
        // The first step finds its numbers in other processors' caches; and a thread that has slept may wake on the
        // processor of its caller, from which the system takes it away after milliseconds.
        if (steps_ == 1 || (!alone_ && begin - turn_began_ < waking)) return;
        ++measured_;
        sum_ += end - begin;
        if (measured_ >= least_steps && end - turn_began_ >= turn_) end_turn(sum_ / measured_);
    }

  private:
    static constexpr double pause = 2e-3, waking = 3e-3;
    static constexpr double trial_alone = 2e-4, trial_together = 5e-3, together = 5e-2, least_alone = 5e-2,
                            most_alone = 0.8;
    static constexpr double better = 0.95, worse = 1.25;
    static constexpr double long_step = 1e-3;  // a trial of such steps costs more than their waiting
    static constexpr int least_steps = 2;

    // What was learnt before a pause says little of now.
    void start_again() {
        steps_ = 0;
        alone_ = tries_ = false;
        turn_ = together;
        patience_ = least_alone;
    }
    void begin_turn(double begin) {
        turn_began_ = begin;
        steps_ = measured_ = 0;
        sum_ = 0;
    }
    void end_turn(double mean) {
        if (tries_)
            judge(mean);
        else if (alone_ || ((usual_ == 0 || mean > worse * usual_) && mean < long_step))
            try_other(mean);
        steps_ = 0;
    }
    void try_other(double mean) {
        other_ = mean;
        alone_ = !alone_;
        tries_ = true;
        turn_ = alone_ ? trial_alone : trial_together;
    }
    void judge(double mean) {
        tries_ = false;
        if (mean < better * other_) {
            patience_ = least_alone;
        } else {
            alone_ = !alone_;
            patience_ = std::min(2 * patience_, most_alone);
        }
        usual_ = alone_ ? 0 : std::min(mean, other_);
        turn_ = alone_ ? patience_ : together;
    }

    bool alone_ = false, tries_ = false;
    int steps_ = 0, measured_ = 0;
    double turn_ = together, patience_ = least_alone;
    double turn_began_ = 0, last_end_ = 0, sum_ = 0, other_ = 0;
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
