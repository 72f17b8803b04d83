#include <cmath>

#include "api/net_of.hpp"
#include "execution/thread_pool.hpp"
#include "training/enqueued_epoch.hpp"

namespace fastbp {
namespace {

// What each mini-batch weighs, the last smaller one too.
template <class Real>
std::vector<double> weights_of_batches(Backend<Real>& on, const RowSource& weights, RowRange rows, Index batch_size) {
    std::vector<double> of_batch;
    for (Index begin = 0; begin < rows.count; begin += batch_size)
        of_batch.push_back(double(std::min(batch_size, rows.count - begin)));
    if (!weights.empty()) on.sum_weights(weights, rows, batch_size, of_batch.data());
    return of_batch;
}

}  // namespace

template <class Real>
void NetOf<Real>::run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const {
    check_rows(model, data);
    const Call<Real> call(*on_);
    const Weighing weighing = check_targets(*on_, model, data, WeightUse::steps);
    if (epoch.batch_size < 1)
        throw Error(ErrorKind::value, "batch_size is " + std::to_string(epoch.batch_size) + ", expected at least 1");
    if (epoch.step < 0)
        throw Error(ErrorKind::value, "step is " + std::to_string(epoch.step) + ", expected at least 0");
    check_limit("max_grad_norm", epoch.max_grad_norm);
    check_limit("max_example_norm", epoch.max_example_norm);
    const Index steps = steps_of_epoch(row_range(data).count, epoch.batch_size, epoch.drop_last != 0);
    if (epoch.step > std::numeric_limits<Index>::max() - steps)
        throw Error(ErrorKind::value, "step is " + std::to_string(epoch.step) + ", which leaves no number for a step");
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(nullptr, data, poll);
    job.has_masks = weighing.has_masks;
    seed_by_loss(job, data);
    job.max_example_norm = epoch.max_example_norm;
    Epoch<Real> state;
    state.rule = step_rule(&epoch.rule);
    std::array<Vector<Real>, most_moments> moments;
    check_moments(state.rule, epoch.moments);
    check_rates(state.rule, epoch.lr, steps);
    const auto moments_kept = std::size_t(moment_count(state.rule));
    check_apart(model, sizeof(Real), params, data, epoch, steps, int(moments_kept));
    for (std::size_t k = 0; k < moments_kept; ++k)
        moments[k] = {static_cast<Real*>(epoch.moments[k]), model.parameter_count};
    state.moments = {moments.data(), moments_kept};
    state.steps_done = &epoch.steps_done;
    if (steps == 0) return;
    state.batch_size = std::min(epoch.batch_size, job.rows.count);
    state.drop_last = epoch.drop_last != 0;
    state.lr = epoch.lr;
    state.step = epoch.step;
    state.seed = epoch.seed;
    state.max_grad_norm = epoch.max_grad_norm;
    state.penalties_by_weight = epoch.penalties_by_weight != 0;
    state.values = epoch.values;
    state.grad_hook = epoch.grad_hook;
    state.hook_context = epoch.hook_context;
    if (epoch.grad_hook != nullptr) state.hook_grad = static_cast<Real*>(epoch.grad);
    state.plan = plan_for(job, state.batch_size);
    Refused refused;
    const Stop stopped =
        on_->asynchronous() ? run_enqueued(params, job, state, refused) : run_by_team(params, job, state, refused);
    epoch.step = state.step;
    epoch.loss_sum = state.loss_sum;
    epoch.weight_sum = state.weight_sum;
    note_refusal(epoch, stopped, refused);
    throw_if(stopped);
    call.finish();
}

// Says where the epoch was refused, in the struct and in the text of the error.
template <class Real>
void NetOf<Real>::note_refusal(fastbp_epoch& epoch, Stop stopped, const Refused& refused) const {
    epoch.refused = stopped == Stop::not_finite ? FASTBP_REFUSED_LOSS : FASTBP_REFUSED_NOTHING;
    epoch.refused_layer = -1;
    if (stopped != Stop::gradient_refused) return;
    epoch.refused = std::isfinite(refused.number) ? FASTBP_REFUSED_LARGE_GRADIENT : FASTBP_REFUSED_GRADIENT;
    std::size_t k = model.layers.size() - 1;
    while (k > 0 && model.layers[k].first_w > refused.place) --k;
    epoch.refused_layer = std::int32_t(k);
    throw Error(
        ErrorKind::floating_point,
        "the gradient of layer " + std::to_string(k + 1) + " (weights[" + std::to_string(k) + "]) " +
            (std::isfinite(refused.number) ? "has the number " + text_of(refused.number) + ", which is too large " +
                                                 "for a step of this optimizer in " + name_of<Real>
                                           : "is not finite"));
}

template <class Real>
Stop NetOf<Real>::run_by_team(void* params, const Job<Real>& job, Epoch<Real>& epoch, Refused& refused) const {
    const int team = team_for(epoch.plan, job);
    const auto crew = free_.borrow(*on_, model, epoch.plan, {team, 1, false, false, job.kept_per_row});
    (*crew).start();
    const double steps = double(steps_of_epoch(job.rows.count, epoch.batch_size, epoch.drop_last));
    by_team(team, worth_waking(epoch.plan, steps), [&](const Member& member) {
        fastbp::run_epoch(*on_, member, model, *crew, static_cast<Real*>(params), job, epoch);
    });
    refused = (*crew).refused();
    return (*crew).stopped();
}

// The rows, their order and the ledger lie in the backend's memory while the epoch lasts.
template <class Real>
Stop NetOf<Real>::run_enqueued(void* params, const Job<Real>& given, Epoch<Real>& epoch, Refused& refused) const {
    Job<Real> job = given;
    const auto x = Resident<Real>::template copy_of<Real>(*on_, job.x);
    const auto y = job.y_is_classes ? Resident<Real>::template copy_of<std::int32_t>(*on_, job.y)
                                    : Resident<Real>::template copy_of<Real>(*on_, job.y);
    const bool by_function = job.seed == Seed::function;  // which the process weighs
    const HostRows<Real> host_weights(*on_, by_function ? job.weights : RowSource{});
    const auto weights = Resident<Real>::template copy_of<double>(*on_, by_function ? RowSource{} : job.weights);
    job.x = x.rows();
    job.x_view = {};
    job.y = y.rows();
    job.weights = by_function ? host_weights.rows() : weights.rows();

    const RowRange rows = job.host_rows;
    const auto order_bytes = rows.order == nullptr ? 0 : std::size_t(rows.count) * sizeof(Index);
    const Block<Real> order(*on_, order_bytes);
    if (order_bytes > 0) on_->upload(rows.order, order.memory(), order_bytes);
    const Index* order_there = order_bytes > 0 ? static_cast<const Index*>(order.memory()) : nullptr;
    const auto steps = std::size_t(steps_of_epoch(rows.count, epoch.batch_size, epoch.drop_last));
    const auto batch_weights = weights_of_batches(
        *on_, job.weights, by_function ? rows : RowRange{order_there, 0, rows.count}, epoch.batch_size);
    const Block<Real> losses(*on_, steps * sizeof(double)), ledger(*on_, sizeof(Ledger));
    const Ledger empty{static_cast<double*>(losses.memory())};
    on_->upload(&empty, ledger.memory(), sizeof empty);
    epoch.ledger = static_cast<Ledger*>(ledger.memory());

    const auto crew = free_.borrow(*on_, model, epoch.plan, {1, 1, false, false, 0});
    (*crew).start();
    run_enqueued_epoch(*on_, model, *crew, static_cast<Real*>(params), job, order_there, batch_weights, epoch);
    refused = (*crew).refused();
    return (*crew).stopped();
}

template void NetOf<float>::run_epoch(void*, const fastbp_data&, fastbp_epoch&) const;
template void NetOf<double>::run_epoch(void*, const fastbp_data&, fastbp_epoch&) const;

}  // namespace fastbp
