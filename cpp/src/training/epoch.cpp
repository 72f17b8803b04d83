#include "training/epoch.hpp"

#include <algorithm>

#include "execution/penalty.hpp"
#include "execution/weights.hpp"

namespace fastbp {
namespace {

// Plain SGD can blend the step into the weight-gradient product, w = (1 - lr weight_decay) w - lr x^T delta: where
// nothing else needs the gradient, and where one tile of one group writes it.
template <class Real>
bool blends_into_parameters(const Model& model, const Plan& plan, const Epoch<Real>& epoch) {
    return epoch.rule.kind == Optimizer::sgd && epoch.rule.momentum == 0 && model.l1 == 0 && plan.groups == 1 &&
           plan.tile >= plan.rows;
}

template <class Real>
double blended_step(Backend<Real>& on, const Model& model, const Plan& plan, Workspace<Real>& workspace, Job<Real>& job,
                    Real* params, const Epoch<Real>& epoch, double lr) {
    auto& slots = workspace.slots();
    slots.step_w = {Real(-lr), Real(1 - lr * (epoch.rule.weight_decay + model.l2))};
    slots.step_b = {Real(-lr), Real(1 - lr * epoch.rule.weight_decay)};
    job.grad = params;
    job.into_parameters = true;
    return carry_out(on, model, plan, workspace, job);
}

template <class Real>
double separate_step(Backend<Real>& on, const Model& model, const Plan& plan, Workspace<Real>& workspace,
                     Job<Real>& job, Real* params, const Epoch<Real>& epoch, double lr) {
    const Index own = gradients_needed(plan);  // the sum of the groups lies behind their own gradients
    job.grad = workspace.gradient(own).data;
    const double loss = carry_out(on, model, plan, workspace, job);
    if (model.has_penalty()) add_penalties(on, model, params, job.grad);
    workspace.slots().now = {lr, epoch.step + 1};
    on.update(epoch.rule, &workspace.slots().now, workspace.partials(own + 1).subspan(std::size_t(own)),
              {params, model.parameter_count}, epoch.moments);
    return loss;
}

}  // namespace

Index steps_of_epoch(Index rows, Index batch_size, bool drop_last) {
    return drop_last ? rows / batch_size : (rows + batch_size - 1) / batch_size;
}

template <class Real>
void run_epoch(Backend<Real>& on, const Model& model, Workspace<Real>& workspace, Real* params, const Job<Real>& data,
               Epoch<Real>& epoch) {
    Job<Real> job = data;
    job.params = params;
    job.finite_or_stop = true;
    const Index rows = data.rows.count, steps = steps_of_epoch(rows, epoch.batch_size, epoch.drop_last);
    for (Index k = 0; k < steps; ++k) {
        const Index begin = k * epoch.batch_size, end = std::min(rows, begin + epoch.batch_size);
        job.rows = data.rows.block(begin, end);
        const double weight = weight_of(data.weights, job.rows);
        if (weight != 0) {
            job.scale = 1 / weight;
            const Plan plan = make_plan(model, end - begin, sizeof(Real));
            const auto step = blends_into_parameters(model, plan, epoch) ? blended_step<Real> : separate_step<Real>;
            const double loss = step(on, model, plan, workspace, job, params, epoch, epoch.lr[k]);
            ++epoch.step;
            epoch.loss_sum += loss * weight;
            epoch.weight_sum += weight;
        }
        epoch.steps_done = k + 1;
    }
}

template void run_epoch(Backend<float>&, const Model&, Workspace<float>&, float*, const Job<float>&, Epoch<float>&);
template void run_epoch(Backend<double>&, const Model&, Workspace<double>&, double*, const Job<double>&,
                        Epoch<double>&);

}  // namespace fastbp
