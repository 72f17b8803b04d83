#include "training/epoch.hpp"

#include <algorithm>

#include "execution/weights.hpp"
#include "training/steps.hpp"

namespace fastbp {
namespace {

// Whose turn a step is: the team's, or its first member's alone, while the others sleep.
class Turns {
  public:
    // Before the meeting that the epoch begins with.
    Turns(const Member& member, Pace& pace, Baton& baton, Index step)
        : member_(member), pace_(pace), baton_(baton), answered_(baton.calls()) {
        if (!member.first() || member.team() == 1) return;
        told_alone_ = pace.alone();
        baton.tell_next(step - 1, told_alone_);
    }

    bool sleeps_through(Index step) const { return !member_.first() && baton_.sleeps_through(step, answered_); }
    // The mini-batch at which the first calls the others back.
    Index wait() { return baton_.wait(answered_); }

    // Before mini-batch k. True: the first takes it alone.
    bool begin(Index step, Index k) {
        if (!member_.first() || member_.team() == 1) return false;
        if (by_one_ && !pace_.alone()) {
            baton_.call(k);
            by_one_ = told_alone_ = false;
        } else if (!by_one_) {
            by_one_ = told_alone_;
        }
        if (!by_one_) {
            told_alone_ = pace_.alone();
            baton_.tell_next(step, told_alone_);
        }
        began_ = seconds_now();
        return by_one_;
    }
    void end() {
        if (!member_.first() || member_.team() == 1 || by_one_ != pace_.alone()) return;
        pace_.took(began_, seconds_now());
    }
    // After the last: those who sleep wake and find no mini-batch left.
    void finish(Index count) {
        if (by_one_) baton_.call(count);
    }

  private:
    const Member& member_;
    Pace& pace_;
    Baton& baton_;
    unsigned answered_;
    bool by_one_ = false, told_alone_ = false;
    double began_ = 0;
};

}  // namespace

Index steps_of_epoch(Index rows, Index batch_size, bool drop_last) {
    return drop_last ? rows / batch_size : (rows + batch_size - 1) / batch_size;
}

template <class Real>
void run_epoch(Backend<Real>& on, const Member& member, const Model& model, Crew<Real>& crew, Real* params,
               const Job<Real>& data, Epoch<Real>& epoch) {
    Barrier nobody(1);
    const Member first_alone{0, nobody};
    Steps<Real> together(on, member, model, crew, params, data, epoch);
    Steps<Real> alone(on, first_alone, model, crew, params, data, epoch);
    const Index rows = data.rows.count, count = steps_of_epoch(rows, epoch.batch_size, epoch.drop_last);
    const Plan& whole = epoch.plan;
    Plan last = whole;  // cut alike, so that the crew fits it
    last.rows = rows % epoch.batch_size;
    Index step = epoch.step;
    Turns turns(member, crew.pace(Work::step), crew.baton(), step);
    member.meet();  // the first begins to keep the account when all have read where it stands
    for (Index k = 0; k < count; ++k) {
        const Index begin = k * epoch.batch_size, end = std::min(rows, begin + epoch.batch_size);
        const RowRange batch = data.rows.block(begin, end);
        const double weight = weight_of(on, data.weights, batch);
        double loss = 0, value = 0;
        if (weight != 0) {
            if (turns.sleeps_through(step)) {
                k = turns.wait() - 1;
                step = epoch.step;
                continue;
            }
            const bool by_one = turns.begin(step, k);
            const Plan& plan = end - begin == epoch.batch_size ? whole : last;
            Steps<Real>& steps = by_one ? alone : together;
            steps.begin(batch, batch, weight, epoch.lr[k], step + 1);
            const auto taken = steps.take(plan);
            if (!taken) return turns.finish(count);
            turns.end();
            loss = taken->loss;
            value = loss + taken->penalty;
            ++step;
        }
        if (member.first()) {
            epoch.step = step;
            epoch.loss_sum += loss * weight;
            epoch.weight_sum += weight;
            if (epoch.values != nullptr) epoch.values[k] = value;
            *epoch.steps_done = k + 1;
        }
    }
    turns.finish(count);
}

template void run_epoch(Backend<float>&, const Member&, const Model&, Crew<float>&, float*, const Job<float>&,
                        Epoch<float>&);
template void run_epoch(Backend<double>&, const Member&, const Model&, Crew<double>&, double*, const Job<double>&,
                        Epoch<double>&);

}  // namespace fastbp
