// The steps of an epoch: a mini-batch's gradient and what becomes of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "execution/call_back.hpp"
#include "execution/penalty.hpp"
#include "training/epoch.hpp"

namespace fastbp {

// Sums of products up to here are far from overflow, and so are their squares.
template <class Real>
constexpr double most_certain = sizeof(Real) == 4 ? 0x1p60 : 0x1p480;

// One member's way through an epoch. All members take the same steps; the first keeps the account. A step is begun,
// which puts its numbers where operations read them, and taken, which is operations alone.
template <class Real>
class Steps {
  public:
    Steps(Backend<Real>& on, const Member& member, const Model& model, Crew<Real>& crew, Real* params,
          const Job<Real>& data, const Epoch<Real>& epoch)
        : on_(on), member_(member), model_(model), crew_(crew), params_(params), job_(data), epoch_(epoch) {
        job_.params = {params};
        job_.finite_or_stop = true;
        job_.ledger = epoch.ledger;
        if (epoch.ledger != nullptr) job_.poll = nullptr;  // the epoch asks it, between steps
        job_.leave_partials = true;
        job_.drops_units = true;
        job_.seed_of_dropout = epoch.seed;
    }

    // What a mini-batch gave: its mean loss, and the penalties where they are wanted.
    struct Taken {
        double loss, penalty;
    };

    // `rows` as operations read them, `host_rows` as the process does.
    void begin(RowRange rows, RowRange host_rows, double weight, double lr, Index step) {
        job_.rows = rows;
        job_.host_rows = host_rows;
        job_.scale = 1 / weight;
        job_.step = step;
        const double share = epoch_.penalties_by_weight ? 1 / weight : 1;
        l2_ = share * model_.l2;
        l1_ = share * model_.l1;
        auto& slots = crew_.workspace(member_.index).slots();
        slots.now = {lr, step};
        largest_usable_ = epoch_.template largest_usable<Real>(lr);
        penalties_are_small_ = l2_ <= 0.5 && l1_ <= most_certain<Real>;
        job_.certain = on_.asynchronous() || epoch_.grad_hook != nullptr ? 0 : most_certain<Real> / std::max(lr, 1.0);
        slots.first_row = host_rows.first;
        slots.step_w = {Real(-lr), Real(1 - lr * (epoch_.rule.weight_decay + l2_))};
        slots.step_b = {Real(-lr), Real(1 - lr * epoch_.rule.weight_decay)};
        prepare(on_, member_, crew_, job_);
    }

    // For the first member; nothing where the team stopped, and then nothing has changed.
    std::optional<Taken> take(const Plan& plan) {
        const double before = epoch_.values != nullptr && model_.has_penalty() ? penalties(plan) : 0;
        const auto loss = blends_into_parameters(plan) ? blended_step(plan)
                          : steps_layer_by_layer(plan) ? layered_step(plan)
                                                       : separate_step(plan);
        return loss ? std::optional<Taken>({*loss, before}) : std::nullopt;
    }

  private:
    // Plain SGD can blend the step into the weight-gradient product, w = (1 - lr weight_decay) w - lr x^T delta: where
    // nothing else needs the gradient, and where one tile of one group writes it.
    bool blends_into_parameters(const Plan& plan) const {
        return epoch_.rule.kind == Optimizer::sgd && epoch_.rule.momentum == 0 && model_.l1 == 0 &&
               writes_one_gradient(plan);
    }

    double penalties(const Plan& plan) {
        return among_team(on_, member_, plan, crew_, [&](Backend<Real>& shared) {
            return penalty(shared, l2_, l1_, model_, crew_.workspace(member_.index).live(), params_);
        });
    }

    // Nobody but the step itself needs the gradient, which one tile of one group writes; and the loss is known before.
    bool writes_one_gradient(const Plan& plan) const {
        return !epoch_.needs_gradient() && plan.partial_gradients() == 0 && plan.tile >= plan.rows &&
               !on_.asynchronous();
    }

    std::optional<double> blended_step(const Plan& plan) {
        job_.grad = {params_};
        job_.into_parameters = true;
        return step_in_place(plan);
    }

    // Other rules can step with each layer's gradient as it comes, under the same condition.
    bool steps_layer_by_layer(const Plan& plan) const {
        return writes_one_gradient(plan) && !job_.x.compressed() && !model_.weights_by_outputs && penalties_are_small_;
    }

    std::optional<double> layered_step(const Plan& plan) {
        Workspace<Real>& workspace = crew_.workspace(member_.index);
        job_.grad = {crew_.gradient(0).data};
        job_.into_parameters = false;
        job_.steps = workspace.steps(epoch_.rule, l2_, l1_, params_, epoch_.moments);
        return step_in_place(plan);
    }

    // Makes the step layer by layer, together with the gradient. If a sum may overflow, it checks the gradient first.
    std::optional<double> step_in_place(const Plan& plan) {
        job_.separate_grad = {crew_.gradient(0).data};
        const bool done = carry_out(on_, member_, plan, crew_, job_);
        job_.steps = {};
        if (!done) return std::nullopt;
        const double loss = known_loss(plan);
        if (job_.is_certain(crew_.workspace(member_.index).live().factors)) return loss;
        job_.grad = job_.separate_grad;
        return update_by_team(plan) ? std::optional<double>(loss) : std::nullopt;
    }

    bool update_by_team(const Plan& plan) {
        return among_team(on_, member_, plan, crew_,
                          [&](Backend<Real>& shared) { return update_parameters(shared, plan); });
    }

    std::optional<double> separate_step(const Plan& plan) {
        job_.grad = {plan.partial_gradients() == 0 ? summed_gradient(plan).data : crew_.gradient(0).data};
        job_.into_parameters = false;
        if (!carry_out(on_, member_, plan, crew_, job_)) return std::nullopt;
        const double loss = known_loss(plan);  // before the last meeting: after it the next step begins to sum
        return update_by_team(plan) ? std::optional<double>(loss) : std::nullopt;
    }

    // The sum of the groups' gradients, behind them in the crew, or in the caller's memory.
    Vector<Real> summed_gradient(const Plan& plan) const {
        if (epoch_.hook_grad != nullptr) return {epoch_.hook_grad, model_.parameter_count};
        return crew_.gradient(plan.partial_gradients());
    }

    bool update_parameters(Backend<Real>& shared, const Plan& plan) {
        const int partials = std::max(plan.partial_gradients(), 1);
        if (model_.has_penalty()) add_penalties<Real>(shared, l2_, l1_, model_, params_, job_.grad.flat);
        auto gradient = crew_.partials(0, partials);
        Vector<const Real> finished;
        const bool certain = penalties_are_small_ && is_certain(plan);
        if (epoch_.needs_gradient() || !certain) {
            const Vector<Real> sum = summed_gradient(plan);
            if (partials > 1) shared.reduce(gradient, 0, sum);
            if (!finish_gradient(shared, sum, certain)) return false;
            finished = sum;
            gradient = {&finished, 1};
        }
        const StepScalars* now = &crew_.workspace(member_.index).live().now;
        shared.update(epoch_.rule, now, gradient, {params_, model_.parameter_count}, epoch_.moments);
        shared.meet();
        return true;
    }

    // True if no sum in the gradient can have overflowed, given the bounds that all members found for its factors.
    bool is_certain(const Plan& plan) const {
        if (job_.certain <= 0) return false;
        Magnitudes largest = crew_.workspace(member_.index).live().factors;
        for (int m = 0; m < (plan.shares_operations() ? 0 : member_.team()); ++m) {
            const Magnitudes& seen = crew_.workspace(m).live().factors;
            largest = {std::max(largest.x, seen.x), std::max(largest.delta, seen.delta)};
        }
        return job_.is_certain(largest);
    }

    // Calls the user's hook, checks the numbers unless they are certainly finite, and clips by the norm: grad *= min(1,
    // max / (norm + 1e-6)), as torch's clip_grad_norm_. Returns false if there is no step.
    bool finish_gradient(Backend<Real>& shared, Vector<Real> grad, bool certain) {
        if (epoch_.grad_hook != nullptr) {
            shared.meet();
            if (member_.first() && !call_hook(grad)) crew_.stop(Stop::callback_failed);
            member_.meet();
            if (crew_.stopped() != Stop::none) return false;
        }
        if (!certain && !is_usable(shared, grad)) return false;
        if (epoch_.max_grad_norm <= 0) return true;
        auto& live = crew_.workspace(member_.index).live();
        const double* largest = nullptr;  // squares of float32 numbers are finite in float64
        if (sizeof(Real) == 8 && !certain) {
            shared.largest_magnitude(dense(grad.data, 1, grad.size), &live.largest);
            largest = &live.largest;
        }
        static constexpr double zero = 0;
        shared.upload(&zero, &live.squares, sizeof zero);
        shared.sum_of_squares(grad, largest, &live.squares);
        shared.clip_factor(&live.squares, largest, epoch_.max_grad_norm, &live.clip);
        if (on_.asynchronous() || live.clip < 1) shared.scale_rows({&live.clip, 1}, dense(grad.data, 1, grad.size));
        return true;
    }

    // True if every number of the gradient is finite and not too large. An asynchronous backend writes the answer to
    // the ledger instead, and later operations then make no step.
    bool is_usable(Backend<Real>& shared, Vector<Real> grad) {
        auto& live = crew_.workspace(member_.index).live();
        shared.find_larger(grad, largest_usable_, &live.refused_place);
        if (job_.ledger != nullptr) {
            shared.note_gradient(grad, &live.refused_place, job_.ledger, &live.now);
            return true;
        }
        if (live.refused_place < 0) return true;
        if (member_.first()) crew_.refuse({live.refused_place, double(grad[live.refused_place])});
        return false;
    }

    // 0 where nobody waits for it, and the ledger has it.
    double known_loss(const Plan& plan) const {
        return job_.ledger != nullptr || !member_.first() ? 0 : total_loss(on_, plan, crew_);
    }

    bool call_hook(Vector<Real> grad) const {
        on_.synchronize();
        bool goes_on = true;
        for (std::size_t k = model_.layers.size(); goes_on && k-- > 0;) {
            const LayerShape& layer = model_.layers[k];
            const Index count = layer.outputs * (layer.inputs + 1);
            goes_on = call_back(epoch_.grad_hook, epoch_.hook_context, std::int32_t(k), grad.data + layer.first_w,
                                count) == 0;
        }
        on_.resume();
        return goes_on;
    }

    Backend<Real>& on_;
    const Member& member_;
    const Model& model_;
    Crew<Real>& crew_;
    Real* const params_;
    Job<Real> job_;
    const Epoch<Real>& epoch_;
    double l2_ = 0, l1_ = 0;  // of the step
    double largest_usable_ = 0;
    bool penalties_are_small_ = true;  // added to a gradient far below the largest number they leave it finite
};

}  // namespace fastbp
