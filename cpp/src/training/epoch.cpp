#include "training/epoch.hpp"

#include <algorithm>

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
        job_.params = params;
        job_.finite_or_stop = true;
        job_.leave_partials = true;
    }

    // Returns the mini-batch's mean loss. Where crew.stopped() then has a reason, nothing has changed.
    double take(const Plan& plan, RowRange rows, double weight, double lr, Index step) {
        job_.rows = rows;
        job_.scale = 1 / weight;
        if (blends_into_parameters(plan))
            blended_step(plan, lr);
        else
            separate_step(plan, lr, step);
        return total_loss(plan, crew_);
    }

  private:
    // Plain SGD can blend the step into the weight-gradient product, w = (1 - lr weight_decay) w - lr x^T delta: where
    // nothing else needs the gradient, and where one tile of one group writes it.
    bool blends_into_parameters(const Plan& plan) const {
        return epoch_.rule.kind == Optimizer::sgd && epoch_.rule.momentum == 0 && model_.l1 == 0 &&
               plan.partial_gradients() == 0 && plan.tile >= plan.rows;
    }

    void blended_step(const Plan& plan, double lr) {
        auto& slots = crew_.workspace(member_.index).slots();
        slots.step_w = {Real(-lr), Real(1 - lr * (epoch_.rule.weight_decay + model_.l2))};
        slots.step_b = {Real(-lr), Real(1 - lr * epoch_.rule.weight_decay)};
        job_.grad = params_;
        job_.into_parameters = true;
        carry_out(on_, member_, plan, crew_, job_);
    }

    void separate_step(const Plan& plan, double lr, Index step) {
        job_.grad = crew_.gradient(0).data;
        job_.into_parameters = false;
        carry_out(on_, member_, plan, crew_, job_);
        if (crew_.stopped() != Stop::none) return;
        Cooperative<Real> shared = together(on_, member_, plan, crew_);
        if (model_.has_penalty()) add_penalties<Real>(shared, model_, params_, job_.grad);
        auto& now = crew_.workspace(member_.index).slots().now;
        now = {lr, step};
        shared.update(epoch_.rule, &now, crew_.partials(0, std::max(plan.partial_gradients(), 1)),
                      {params_, model_.parameter_count}, epoch_.moments);
    }

    Backend<Real>& on_;
    const Member& member_;
    const Model& model_;
    Crew<Real>& crew_;
    Real* const params_;
    Job<Real> job_;
    const Epoch<Real>& epoch_;
};

}  // namespace

Index steps_of_epoch(Index rows, Index batch_size, bool drop_last) {
    return drop_last ? rows / batch_size : (rows + batch_size - 1) / batch_size;
}

template <class Real>
void run_epoch(Backend<Real>& on, const Member& member, const Model& model, Crew<Real>& crew, Real* params,
               const Job<Real>& data, Epoch<Real>& epoch) {
    Steps<Real> steps(on, member, model, crew, params, data, epoch);
    const Index rows = data.rows.count, count = steps_of_epoch(rows, epoch.batch_size, epoch.drop_last);
    const Plan whole = make_plan(model, epoch.batch_size, sizeof(Real), epoch.threads);
    Plan last = whole;  // cut alike, so that the crew fits it
    last.rows = rows % epoch.batch_size;
    Index step = epoch.step;
    member.meet();  // the first begins to keep the account when all have read where it stands
    for (Index k = 0; k < count; ++k) {
        const Index begin = k * epoch.batch_size, end = std::min(rows, begin + epoch.batch_size);
        const RowRange batch = data.rows.block(begin, end);
        const double weight = weight_of(data.weights, batch);
        double loss = 0;
        if (weight != 0) {
            loss = steps.take(end - begin == epoch.batch_size ? whole : last, batch, weight, epoch.lr[k], step + 1);
            if (crew.stopped() != Stop::none) return;
            ++step;
        }
        if (member.first()) {
            epoch.step = step;
            epoch.loss_sum += loss * weight;
            epoch.weight_sum += weight;
            epoch.steps_done = k + 1;
        }
    }
}

template void run_epoch(Backend<float>&, const Member&, const Model&, Crew<float>&, float*, const Job<float>&,
                        Epoch<float>&);
template void run_epoch(Backend<double>&, const Member&, const Model&, Crew<double>&, double*, const Job<double>&,
                        Epoch<double>&);

}  // namespace fastbp
