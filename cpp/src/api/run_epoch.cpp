#include <cmath>

#include "api/net_of.hpp"

namespace fastbp {

template <class Real>
void NetOf<Real>::run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const {
    const Index kept_per_row = check_rows(model, data);
    const Call<Real> call(runner_.backend());
    const Weighing weighing = check_targets(runner_.backend(), model, data, WeightUse::steps);
    if (epoch.batch_size < 1)
        throw Error(ErrorKind::value, "batch_size is " + std::to_string(epoch.batch_size) + ", expected at least 1");
    if (epoch.step < 0)
        throw Error(ErrorKind::value, "step is " + std::to_string(epoch.step) + ", expected at least 0");
    check_limit("max_grad_norm", epoch.max_grad_norm);
    check_limit("max_example_norm", epoch.max_example_norm);
    const Index rows = row_range(data).count;
    const Index steps = steps_of_epoch(rows, epoch.batch_size, epoch.drop_last != 0);
    if (epoch.step > std::numeric_limits<Index>::max() - steps)
        throw Error(ErrorKind::value, "step is " + std::to_string(epoch.step) + ", which leaves no number for a step");
    Epoch<Real> run;
    run.rule = step_rule(&epoch.rule);
    check_moments(run.rule, epoch.moments);
    check_rates(run.rule, epoch.lr, steps);
    std::array<Vector<Real>, most_moments> moments;
    const auto moments_kept = std::size_t(moment_count(run.rule));
    check_apart(model, sizeof(Real), params, data, epoch, steps, int(moments_kept));
    if (steps == 0) return;
    for (std::size_t k = 0; k < moments_kept; ++k)
        moments[k] = {static_cast<Real*>(epoch.moments[k]), model.parameter_count};
    run.moments = {moments.data(), moments_kept};
    run.batch_size = std::min(epoch.batch_size, rows);
    run.drop_last = epoch.drop_last != 0;
    run.penalties_by_weight = epoch.penalties_by_weight != 0;
    run.lr = epoch.lr;
    run.max_grad_norm = epoch.max_grad_norm;
    run.grad_hook = epoch.grad_hook;
    run.hook_context = epoch.hook_context;
    if (epoch.grad_hook != nullptr) run.hook_grad = static_cast<Real*>(epoch.grad);
    run.dropout_seed = epoch.seed;
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(nullptr, data, kept_per_row, poll);
    job.rows.has_masks = weighing.has_masks;
    job.seed = seed_of(data);
    job.max_example_norm = epoch.max_example_norm;
    const EpochReport report{epoch.loss_sum, epoch.weight_sum, epoch.step, epoch.steps_done, epoch.values};
    const EpochEnd end = fastbp::run_epoch(runner_, static_cast<Real*>(params), job, run, report);
    report_end(epoch, end);
    call.finish();
}

// Reports why an epoch ended early, in the struct and in the text of the error.
template <class Real>
void NetOf<Real>::report_end(fastbp_epoch& epoch, const EpochEnd& end) const {
    if (end.stopped == Stop::not_finite) epoch.refused = FASTBP_REFUSED_LOSS;
    if (end.stopped != Stop::gradient_refused) return throw_if(end.stopped);
    const bool is_finite = std::isfinite(end.refused.number);
    epoch.refused = is_finite ? FASTBP_REFUSED_LARGE_GRADIENT : FASTBP_REFUSED_GRADIENT;
    std::size_t k = model.layers.size() - 1;
    while (k > 0 && model.layers[k].first_w > end.refused.place) --k;
    epoch.refused_layer = std::int32_t(k);
    const std::string layer =
        "the gradient of layer " + std::to_string(k + 1) + " (weights[" + std::to_string(k) + "]) ";
    if (!is_finite) throw Error(ErrorKind::floating_point, layer + "is not finite");
    throw Error(ErrorKind::floating_point, layer + "has the number " + text_of(end.refused.number) +
                                               ", which is too large for a step of this optimizer in " + name_of<Real>);
}

template void NetOf<float>::run_epoch(void*, const fastbp_data&, fastbp_epoch&) const;
template void NetOf<double>::run_epoch(void*, const fastbp_data&, fastbp_epoch&) const;

}  // namespace fastbp
