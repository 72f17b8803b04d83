#include "training/epoch.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "execution/penalty.hpp"
#include "execution/weights.hpp"

namespace fastbp {
namespace {

// One member's way through an epoch. All members take the same steps; the first keeps the account.
template <class Real>
class Steps {
  public:
    Steps(Backend<Real>& on, const Member& member, const Model& model, Crew<Real>& crew, Real* params,
          const Job<Real>& data, const Epoch<Real>& epoch)
        : on_(on), member_(member), model_(model), crew_(crew), params_(params), job_(data), epoch_(epoch) {
        job_.params = {params};
        job_.finite_or_stop = true;
        job_.leave_partials = true;
        job_.drops_units = true;
        job_.seed_of_dropout = epoch.seed;
    }

    // What a mini-batch gave: its mean loss, and the penalties where they are wanted.
    struct Taken {
        double loss, penalty;
    };

    // For the first member; nothing where the team stopped, and then nothing has changed.
    std::optional<Taken> take(const Plan& plan, RowRange rows, double weight, double lr, Index step) {
        job_.rows = rows;
        job_.scale = 1 / weight;
        job_.step = step;
        const double share = epoch_.penalties_by_weight ? 1 / weight : 1;
        l2_ = share * model_.l2;
        l1_ = share * model_.l1;
        const double before = epoch_.values != nullptr && model_.has_penalty() ? penalties(plan) : 0;
        const auto loss = blends_into_parameters(plan) ? blended_step(plan, lr)
                          : steps_layer_by_layer(plan) ? layered_step(plan, lr, step)
                                                       : separate_step(plan, lr, step);
        return loss ? std::optional<Taken>({*loss, before}) : std::nullopt;
    }

  private:
    // Plain SGD can blend the step into the weight-gradient product, w = (1 - lr weight_decay) w - lr x^T delta: where
    // nothing else needs the gradient, and where one tile of one group writes it.
    bool blends_into_parameters(const Plan& plan) const {
        return epoch_.rule.kind == Optimizer::sgd && epoch_.rule.momentum == 0 && model_.l1 == 0 &&
               !epoch_.needs_gradient() && plan.partial_gradients() == 0 && plan.tile >= plan.rows;
    }

    double penalties(const Plan& plan) {
        Cooperative<Real> shared = together(on_, member_, plan, crew_);
        return penalty<Real>(shared, l2_, l1_, model_, crew_.workspace(member_.index).slots(), params_);
    }

    std::optional<double> blended_step(const Plan& plan, double lr) {
        auto& slots = crew_.workspace(member_.index).slots();
        slots.step_w = {Real(-lr), Real(1 - lr * (epoch_.rule.weight_decay + l2_))};
        slots.step_b = {Real(-lr), Real(1 - lr * epoch_.rule.weight_decay)};
        job_.grad = {params_};
        job_.into_parameters = true;
        if (!carry_out(on_, member_, plan, crew_, job_)) return std::nullopt;
        return member_.first() ? total_loss(plan, crew_) : 0;
    }

    // Other rules can step with each layer's gradient as it comes, under the same condition.
    bool steps_layer_by_layer(const Plan& plan) const {
        return !epoch_.needs_gradient() && plan.partial_gradients() == 0 && plan.tile >= plan.rows &&
               !job_.x.compressed() && !model_.weights_by_outputs;
    }

    std::optional<double> layered_step(const Plan& plan, double lr, Index step) {
        Workspace<Real>& workspace = crew_.workspace(member_.index);
        workspace.slots().now = {lr, step};
        job_.grad = {crew_.gradient(0).data};
        job_.into_parameters = false;
        job_.steps = workspace.steps(epoch_.rule, l2_, l1_, params_, epoch_.moments);
        const bool done = carry_out(on_, member_, plan, crew_, job_);
        job_.steps = {};
        if (!done) return std::nullopt;
        return member_.first() ? total_loss(plan, crew_) : 0;
    }

    std::optional<double> separate_step(const Plan& plan, double lr, Index step) {
        job_.grad = {crew_.gradient(0).data};
        job_.into_parameters = false;
        if (!carry_out(on_, member_, plan, crew_, job_)) return std::nullopt;
        const double loss = total_loss(plan, crew_);  // before the last meeting: after it the next step begins to sum
        Cooperative<Real> shared = together(on_, member_, plan, crew_);
        const int partials = std::max(plan.partial_gradients(), 1);
        if (model_.has_penalty()) add_penalties<Real>(shared, l2_, l1_, model_, params_, job_.grad.flat);
        auto gradient = crew_.partials(0, partials);
        if (epoch_.needs_gradient()) {
            const int place = plan.partial_gradients();  // behind the groups' own
            const Vector<Real> sum = crew_.gradient(place);
            if (partials > 1) shared.reduce(gradient, 0, sum);
            if (!finish_gradient(shared, sum)) return std::nullopt;
            gradient = crew_.partials(place, 1);
        }
        auto& now = crew_.workspace(member_.index).slots().now;
        now = {lr, step};
        shared.update(epoch_.rule, &now, gradient, {params_, model_.parameter_count}, epoch_.moments);
        shared.meet();
        return loss;
    }

    // The user's hook, then clipping by the norm: grad *= min(1, max / (norm + 1e-6)), torch's clip_grad_norm_.
    bool finish_gradient(Cooperative<Real>& shared, Vector<Real> grad) {
        if (epoch_.grad_hook != nullptr) {
            shared.meet();
            if (member_.first() && !call_hook(grad)) crew_.stop(Stop::callback_failed);
            member_.meet();
            if (crew_.stopped() != Stop::none) return false;
        }
        if (epoch_.max_grad_norm <= 0) return true;
        auto& slots = crew_.workspace(member_.index).slots();
        slots.squares = 0;
        shared.sum_of_squares(grad, &slots.squares);
        auto& clip = slots.clip;
        clip = epoch_.max_grad_norm / (std::sqrt(slots.squares) + 1e-6);
        if (clip < 1) shared.scale_rows({&clip, 1}, dense(grad.data, 1, grad.size));
        return true;
    }

    bool call_hook(Vector<Real> grad) const {
        for (std::size_t k = model_.layers.size(); k-- > 0;) {
            const LayerShape& layer = model_.layers[k];
            const Index count = layer.outputs * (layer.inputs + 1);
            if (epoch_.grad_hook(epoch_.hook_context, std::int32_t(k), grad.data + layer.first_w, count) != 0)
                return false;
        }
        return true;
    }

    Backend<Real>& on_;
    const Member& member_;
    const Model& model_;
    Crew<Real>& crew_;
    Real* const params_;
    Job<Real> job_;
    const Epoch<Real>& epoch_;
    double l2_ = 0, l1_ = 0;  // of the step
};

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
        const double weight = weight_of(data.weights, batch);
        double loss = 0, value = 0;
        if (weight != 0) {
            if (turns.sleeps_through(step)) {
                k = turns.wait() - 1;
                step = epoch.step;
                continue;
            }
            const bool by_one = turns.begin(step, k);
            const Plan& plan = end - begin == epoch.batch_size ? whole : last;
            const auto taken = (by_one ? alone : together).take(plan, batch, weight, epoch.lr[k], step + 1);
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
