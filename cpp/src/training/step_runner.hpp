// The steps of an epoch: the gradient of a mini-batch, and the update.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "execution/call_back.hpp"
#include "execution/penalty.hpp"
#include "training/epoch_data.hpp"

namespace fastbp {

// Sums of products up to here are far from overflow, and so are their squares.
template <class Real>
constexpr double most_certain = sizeof(Real) == 4 ? 0x1p60 : 0x1p480;

// Runs the steps of one member of the team. All members run the same steps. A step is prepared, which puts its numbers
// into slots, and run, which is operations alone, so that a backend can record it. Recordings live as long as this.
// Members write to their own at the same time, so each lies on cache lines, and pairs of lines, of its own.
template <class Real>
class alignas(128) StepRunner {
  public:
    // `plan`: of a whole mini-batch. `params`: the parameters to train. `keeps_values`: the ledger gets the penalties.
    StepRunner(Backend<Real>& on, const Model& model, TeamScratch<Real>& scratch, int member,
               const EpochData<Real>& data, const Plan& plan, const Epoch<Real>& epoch, Real* params, bool keeps_values)
        : on_(on),
          model_(model),
          scratch_(scratch),
          own_(scratch.member(member)),
          data_(data),
          epoch_(epoch),
          params_(params),
          keeps_penalties_(keeps_values && model_.has_penalty()),
          is_recorded_(plan.traits.asynchronous && epoch.can_be_recorded(keeps_values, data.job().by_function())),
          whole_(*this, plan),
          last_(*this, plan),
          job_(data.job()) {
        last_.plan.rows = data.host_range(data.count() - 1).count;  // cut as the others, so that the scratch fits it
        job_.params = {params};
        job_.step.emplace();
        job_.step->dropout_seed = epoch.dropout_seed;
        job_.outputs.leave_partials = true;
        if (plan.traits.asynchronous) job_.poll = nullptr;  // no tile is there when it is asked
    }
    StepRunner(const StepRunner&) = delete;
    ~StepRunner() {
        on_.forget(whole_);
        on_.forget(last_);
    }

    // Runs mini-batches [begin, end) of which the first step gets the number step + 1. Stops before a step that is
    // refused or interrupted. Returns the first mini-batch that was not run.
    Index run(const Member& member, Index begin, Index end, Index step) {
        member_ = &member;
        for (Index k = begin; k < end; ++k) {
            if (data_.weight(k) == 0) continue;  // no step
            RecordedStep& next = data_.host_range(k).count == whole_.plan.rows ? whole_ : last_;
            if (next.plan.traits.asynchronous && interrupted()) return k;
            prepare_step(k, ++step, next.plan);
            if (is_recorded_)
                on_.replay(next);
            else if (!run_step(next.plan))
                return k;
        }
        return end;
    }

  private:
    // The operations of a step, for a backend that records them.
    struct RecordedStep final : Step {
        RecordedStep(StepRunner& of, const Plan& with) : runner(of), plan(with) {}
        void run() noexcept override { static_cast<void>(runner.run_step(plan)); }

        StepRunner& runner;
        Plan plan;
    };

    // Steps that only enqueue do not ask the caller. Here the first member asks between them.
    bool interrupted() {
        Poll* poll = data_.job().poll;
        if (poll != nullptr && poll->wants_stop(0)) scratch_.stop(Stop::interrupted);
        return scratch_.stopped() != Stop::none;
    }

    void prepare_step(Index k, Index number, const Plan& plan) {
        auto& slots = own_.slots();
        const double weight = data_.weight(k), lr = epoch_.lr[k];
        job_.rows.host_range = data_.host_range(k);
        job_.rows.range = data_.range(k, &own_.device_slots().first_row);
        job_.scale = 1 / weight;
        job_.step->number = number;
        const double share = epoch_.penalties_by_weight ? 1 / weight : 1;
        penalties_ = {share * model_.l2, share * model_.l1};
        largest_usable_ = epoch_.largest_usable(lr);
        penalties_are_small_ = penalties_.l2 <= 0.5 && penalties_.l1 <= most_certain<Real>;
        const bool looks = plan.traits.asynchronous || epoch_.grad_hook != nullptr;
        job_.step->certain = looks ? 0 : most_certain<Real> / std::max(lr, 1.0);
        slots.now = {lr, number};
        slots.entry = k;
        slots.first_row = job_.rows.host_range.first;
        slots.step_w = {Real(-lr), Real(1 - lr * (epoch_.rule.weight_decay + penalties_.l2))};
        slots.step_b = {Real(-lr), Real(1 - lr * epoch_.rule.weight_decay)};
        prepare(on_, *member_, scratch_, job_);
    }

    // False if the team stopped; then nothing has changed.
    bool run_step(const Plan& plan) {
        if (keeps_penalties_) note_penalties_by_team(plan);
        job_.step->blends_into_parameters = blends_into_parameters(plan);
        if (job_.step->blends_into_parameters) return step_in_place(plan, {params_});
        if (!steps_layer_by_layer(plan)) return separate_step(plan);
        job_.step->layers = own_.steps(epoch_.rule, penalties_.l2, penalties_.l1, params_, epoch_.moments);
        return step_in_place(plan, {scratch_.gradient(0).data});
    }

    // Only the step itself needs the gradient, one tile of one group writes it, and the loss is known before.
    bool writes_one_gradient(const Plan& plan) const {
        return !epoch_.needs_gradient() && plan.partial_gradients() == 0 && plan.tile >= plan.rows &&
               !plan.traits.asynchronous;
    }

    // Plain SGD can blend the step into the weight-gradient product: w = (1 - lr weight_decay) w - lr x^T delta.
    bool blends_into_parameters(const Plan& plan) const {
        return epoch_.rule.kind == Optimizer::sgd && epoch_.rule.momentum == 0 && model_.l1 == 0 &&
               writes_one_gradient(plan);
    }

    // Other rules can step with the gradient of each layer as it is computed.
    bool steps_layer_by_layer(const Plan& plan) const {
        return writes_one_gradient(plan) && !job_.rows.x.compressed() && !model_.weights_by_outputs &&
               penalties_are_small_;
    }

    // Makes the step together with the gradient. If a sum may overflow, the gradient is checked first.
    bool step_in_place(const Plan& plan, Gradient<Real> to) {
        job_.outputs.grad = to;
        job_.step->separate_grad = {scratch_.gradient(0).data};
        const bool done = run_job(on_, *member_, plan, scratch_, job_);
        job_.step->layers = {};
        if (!done) return false;
        note_loss(plan);
        if (job_.step->is_certain(own_.device_slots().factors, plan.rows)) return true;
        job_.outputs.grad = job_.step->separate_grad;
        return update_by_team(plan);
    }

    bool separate_step(const Plan& plan) {
        job_.outputs.grad = {plan.partial_gradients() == 0 ? summed_gradient(plan).data : scratch_.gradient(0).data};
        if (!run_job(on_, *member_, plan, scratch_, job_)) return false;
        note_loss(plan);  // before the last barrier: after it the next step begins to sum
        return update_by_team(plan);
    }

    // The sum of the groups' gradients, behind them in the scratch, or in the caller's memory.
    Vector<Real> summed_gradient(const Plan& plan) const {
        if (epoch_.hook_grad != nullptr) return {epoch_.hook_grad, model_.parameter_count};
        return scratch_.gradient(plan.partial_gradients());
    }

    bool update_by_team(const Plan& plan) {
        return among_team(on_, *member_, plan, scratch_,
                          [&](Operations<Real>& shared) { return update_parameters(shared, plan); });
    }

    bool update_parameters(Operations<Real>& shared, const Plan& plan) {
        const int partials = std::max(plan.partial_gradients(), 1);
        if (model_.has_penalty()) add_penalties<Real>(shared, penalties_, model_, params_, job_.outputs.grad.flat);
        auto gradient = scratch_.partials(0, partials);
        Vector<const Real> finished;
        const bool certain = penalties_are_small_ && is_certain(plan);
        if (epoch_.needs_gradient() || !certain) {
            const Vector<Real> sum = summed_gradient(plan);
            if (partials > 1) shared.reduce(gradient, 0, sum);
            if (!finish_gradient(shared, sum, plan, certain)) return false;
            finished = sum;
            gradient = {&finished, 1};
        }
        const StepScalars* now = &own_.device_slots().now;
        shared.update(epoch_.rule, now, gradient, {params_, model_.parameter_count}, epoch_.moments);
        shared.barrier_wait();
        return true;
    }

    // True if no sum in the gradient can have overflowed, given the bounds that all members found for its factors.
    bool is_certain(const Plan& plan) const {
        if (job_.step->certain <= 0) return false;
        Magnitudes largest = own_.device_slots().factors;
        for (int m = 0; m < (plan.shares_operations() ? 0 : member_->team()); ++m) {
            const Magnitudes& seen = scratch_.member(m).device_slots().factors;
            largest = {std::max(largest.x, seen.x), std::max(largest.delta, seen.delta)};
        }
        return job_.step->is_certain(largest, plan.rows);
    }

    // Calls the user's hook, checks the numbers unless they are certainly finite, and clips by the norm: grad *= min(1,
    // max / (norm + 1e-6)), as torch's clip_grad_norm_. Returns false if there is no step.
    bool finish_gradient(Operations<Real>& shared, Vector<Real> grad, const Plan& plan, bool certain) {
        if (epoch_.grad_hook != nullptr) {
            shared.barrier_wait();
            if (member_->first() && !call_hook(grad)) scratch_.stop(Stop::callback_failed);
            member_->barrier_wait();
            if (scratch_.stopped() != Stop::none) return false;
        }
        if (!certain && !is_usable(shared, grad, plan)) return false;
        if (epoch_.max_grad_norm <= 0) return true;
        auto& live = own_.device_slots();
        const double* largest = nullptr;  // squares of float32 numbers are finite in float64
        if (sizeof(Real) == 8 && !certain) {
            shared.largest_magnitude(dense(grad.data, 1, grad.size), &live.largest);
            largest = &live.largest;
        }
        shared.clear(&live.squares);
        shared.sum_of_squares(grad, largest, &live.squares);
        shared.clip_factor(&live.squares, largest, epoch_.max_grad_norm, &live.clip);
        if (plan.traits.asynchronous || live.clip < 1)
            shared.scale_rows({&live.clip, 1}, dense(grad.data, 1, grad.size));
        return true;
    }

    // True if every number of the gradient is finite and not too large. If the process does not wait for the answer,
    // the ledger gets it, and later operations make no step.
    bool is_usable(Operations<Real>& shared, Vector<Real> grad, const Plan& plan) {
        auto& live = own_.device_slots();
        shared.find_larger(grad, largest_usable_, &live.refused_place);
        if (plan.traits.asynchronous) {
            shared.note_gradient(grad, &live.refused_place, &live.entry, data_.ledger(), &live.now);
            return true;
        }
        if (live.refused_place < 0) return true;
        if (member_->first()) scratch_.refuse({live.refused_place, double(grad[live.refused_place])});
        return false;
    }

    // The first member alone writes to the ledger.
    void note_loss(const Plan& plan) {
        if (!member_->first()) return;
        auto& live = own_.device_slots();
        StepScalars* now = plan.traits.asynchronous ? &live.now : nullptr;  // otherwise the tiles have looked
        on_.note_loss(scratch_.loss_parts(plan), &live.entry, data_.ledger(), now);
    }

    void note_penalties_by_team(const Plan& plan) {
        Ledger* ledger = member_->first() ? data_.ledger() : nullptr;
        among_team(on_, *member_, plan, scratch_, [&](Operations<Real>& shared) {
            note_penalties(shared, penalties_, model_, own_.device_slots(), params_, ledger);
        });
    }

    bool call_hook(Vector<Real> grad) const {
        on_.synchronize();
        bool goes_on = true;
        for (std::size_t k = model_.layers.size(); goes_on && k-- > 0;) {
            const LayerShape& layer = model_.layers[k];
            const Index count = layer.outputs * (layer.inputs + 1);
            Real* part = grad.data + layer.first_w;
            goes_on = call_back(epoch_.grad_hook, epoch_.hook_context, std::int32_t(k), part, count) == 0;
        }
        on_.resume();
        return goes_on;
    }

    Backend<Real>& on_;
    const Model& model_;
    TeamScratch<Real>& scratch_;
    MemberScratch<Real>& own_;
    const EpochData<Real>& data_;
    const Epoch<Real>& epoch_;
    Real* const params_;
    const bool keeps_penalties_, is_recorded_;
    RecordedStep whole_, last_;
    Job<Real> job_;
    const Member* member_ = nullptr;
    Penalties penalties_;  // of the step
    double largest_usable_ = 0;
    bool penalties_are_small_ = true;  // added to a gradient far below the largest number they leave it finite
};

}  // namespace fastbp
