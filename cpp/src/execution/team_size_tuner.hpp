// Choose how many threads run the next steps. If another program keeps one of the processors busy, a team waits at
// every barrier for a member that the system has not scheduled, and one thread alone is faster. Only time can tell. The
// plan is the same either way, and so are the results.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>

#include "execution/barrier.hpp"
#include "seam/views.hpp"

namespace fastbp {

inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Steps that run one after the other on the same threads.
struct Slice {
    int team = 1;
    Index steps = 1;
};

// The team runs until its members arrive late at barriers, or until it has become slower. Then one thread tries a few
// steps alone, and the faster of the two goes on. A single thread tries the team again after a while. What was learnt
// stays until the next call. A tuner that has learnt nothing begins with one thread if another tuner of the process has
// recently found a busy processor.
class TeamSizeTuner {
  public:
    // The next slice, of at most `left` steps. `team`: the largest useful team, above 1.
    Slice next(int team, Index left, double now) {
        if (!knows_) start(now);
        if (alone_ && !tries_ && now >= next_trial_) begin_phase(now, false, true);
        const double target = tries_ ? (alone_ ? trial_alone : trial_slice) : longest_slice;
        return {alone_ ? 1 : team, std::min(left, steps_within(target))};
    }

    // How many steps to run before the caller looks at their results again, at most `left`.
    Index steps(Index left) const { return std::min(left, steps_within(longest_slice)); }

    // The time of a slice, for the length of the next.
    void took(const Slice& slice, double seconds) {
        step_seconds_ = seconds / double(slice.steps);
        last_steps_ = slice.steps;
    }

    // A slice of `next` that has run from `begin` to `end`. `members` ran it; they slept at barriers for `late` seconds
    // in all.
    void finished(const Slice& slice, int members, double late, double begin, double end) {
        const double seconds = end - begin;
        if (begin - last_end_ > asleep_after) woke_ = begin;
        last_end_ = end;
        if (members < slice.team) return;  // the threads had other work, and nothing is learnt
        // The first steps of a team find their numbers in other processors' caches, and a thread that has slept may
        // wake on the processor of its caller, from which the system takes it away after milliseconds.
        if (!alone_ && begin - phase_began_ < waking && seconds < waking) return;
        phase_seconds_ += seconds;
        seconds_ += seconds;
        steps_ += slice.steps;
        if (!alone_ && begin - woke_ >= waking) {
            watched_ += seconds;
            late_ += late / double(std::max(members - 1, 1));
        }
        consider(end);
    }

  private:
    static constexpr double longest_slice = 5e-3, trial_slice = 1e-3;
    static constexpr double waking = 3e-3, asleep_after = 50e-6;
    static constexpr double trial_alone = 3e-4, trial_team = 2e-3, team_phase = 50e-3, least_watch = 1e-3,
                            recent = 5e-3;
    static constexpr double least_patience = 50e-3, most_patience = 0.8, memory = 1.0;
    static constexpr double trial_cost = 50;  // a trial may take one part in so many of the time
    static constexpr double better = 0.95, worse = 1.25, often_late = 0.15;
    static constexpr Index least_steps = 2;

    // When a tuner of this process last preferred one thread.
    static std::atomic<double>& busy_at() {
        static std::atomic<double> at{-std::numeric_limits<double>::infinity()};
        return at;
    }

    void start(double now) {
        knows_ = true;
        begin_phase(now, now - busy_at().load(std::memory_order_relaxed) < memory, false);
        next_trial_ = now + patience_;
    }

    void begin_phase(double now, bool alone, bool tries) {
        other_ = steps_ > 0 ? seconds_ / double(steps_) : other_;
        alone_ = alone;
        tries_ = tries;
        phase_began_ = now;
        phase_seconds_ = 0;
        forget();
    }
    void forget() {
        seconds_ = watched_ = late_ = 0;
        steps_ = 0;
    }

    Index steps_within(double seconds) const {
        if (last_steps_ == 0) return 1;
        const double fitting = seconds / std::max(step_seconds_, 1e-9);
        return std::max(Index(std::min({fitting, 2.0 * double(last_steps_), 1e6})), Index(1));
    }

    void consider(double now) {
        if (tries_) {
            if (steps_ >= least_steps && seconds_ >= (alone_ ? trial_alone : trial_team)) judge(now);
        } else if (!alone_ && now >= next_trial_) {
            const double mean = seconds_ / double(steps_);
            const bool is_late = watched_ >= least_watch && late_ > often_late * watched_;
            const bool is_slower = phase_seconds_ >= team_phase && (usual_ == 0 || mean > worse * usual_);
            if (is_late || is_slower) return begin_phase(now, true, true);
        }
        if (tries_ || seconds_ < recent) return;
        other_ = seconds_ / double(steps_);
        forget();  // old times say little of now
    }

    // Ends a trial: keeps what is faster, and waits longer after each trial that changed nothing.
    void judge(double now) {
        const double mean = seconds_ / double(steps_), cost = now - phase_began_;
        const bool keeps_trial = mean < better * other_;
        const bool alone = keeps_trial == alone_;
        usual_ = alone ? 0 : std::min(mean, other_);
        patience_ = keeps_trial ? least_patience : std::min(2 * patience_, most_patience);
        busy_at().store(alone ? now : -std::numeric_limits<double>::infinity(), std::memory_order_relaxed);
        const double of_kept = keeps_trial ? mean : other_;
        begin_phase(now, alone, false);
        other_ = of_kept;
        next_trial_ = now + (alone || !keeps_trial ? std::max(patience_, trial_cost * cost) : 0);
    }

    bool knows_ = false, alone_ = false, tries_ = false;
    double phase_began_ = 0, last_end_ = 0, woke_ = 0;
    double phase_seconds_ = 0;  // measured in this phase
    double seconds_ = 0;        // the recent part of it, in so many steps
    Index steps_ = 0;
    double watched_ = 0, late_ = 0;  // of that, the part in which late members tell of a busy processor
    double other_ = 0;               // seconds of a step before a trial
    double usual_ = 0;               // of a step by the team when it was last found to be faster; 0: not compared yet
    double patience_ = least_patience, next_trial_ = 0;
    double step_seconds_ = 0;  // of the last slice
    Index last_steps_ = 0;
};

}  // namespace fastbp
