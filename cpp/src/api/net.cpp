#include "api/net_of.hpp"

#include "execution/partials.hpp"
#include "execution/penalty.hpp"
#include "execution/thread_pool.hpp"

namespace fastbp {
namespace {

// The array itself, where the backend can use it as it lies: the right type, aligned, one unit stride, rows that do not
// overlap. Else empty: tiles are loaded.
template <class Real>
Matrix<const Real> view_in_place(const RowSource& x) {
    constexpr Index size = Index(sizeof(Real));
    constexpr NumberType type = sizeof(Real) == 4 ? NumberType::float32 : NumberType::float64;
    constexpr Index longest = Index(std::numeric_limits<std::int32_t>::max()) * size;
    const auto usable = [=](Index unit, Index other, Index along) {
        return unit == size && other % size == 0 && other >= along * size && other <= longest;
    };
    if (x.type != type || x.byte_swapped || reinterpret_cast<std::uintptr_t>(x.data) % sizeof(Real) != 0) return {};
    const Real* data = reinterpret_cast<const Real*>(x.data);
    if (usable(x.col_stride, x.row_stride, x.cols)) return {data, x.rows, x.cols, x.row_stride / size, 1};
    if (usable(x.row_stride, x.col_stride, x.rows)) return {data, x.rows, x.cols, 1, x.col_stride / size};
    return {};
}

// In one row, and at least 1.
Index most_kept(const RowSource& compressed) {
    Index most = 1;
    for (Index i = 0; i < compressed.rows; ++i) most = std::max(most, compressed.start(i + 1) - compressed.start(i));
    return most;
}

}  // namespace

template <class Real>
void NetOf<Real>::check(const fastbp_data& data, std::int32_t targets) const {
    check_rows(model, data);
    if (targets == FASTBP_CHECK_ROWS) return;
    const Call<Real> call(*on_);
    check_targets(*on_, model, data, targets == FASTBP_CHECK_SUM ? WeightUse::sum : WeightUse::steps);
}

template <class Real>
void NetOf<Real>::forward(const void* params, const fastbp_data& data, void* out, void* kept) const {
    check_rows(model, data);
    check_apart(model, sizeof(Real), params, data, out, kept);
    const Call<Real> call(*on_);
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, poll);
    LayerList<Real> layers = kept_values(static_cast<Real*>(kept), job.rows.count);
    if (out != nullptr) layers.back().x = dense(static_cast<Real*>(out), job.rows.count, model.outputs());
    job.kept = layers.span();
    run(job, [](const Plan&, const Crew<Real>&) {});
    // The pullback finds x(L) among the kept values, the caller in out.
    if (out != nullptr && kept != nullptr) {
        const LayerValues<Real> own = kept_values(static_cast<Real*>(kept), job.rows.count).back();
        on_->copy(layers.back().x, own.x);
    }
    call.finish();
}

template <class Real>
void NetOf<Real>::evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const {
    check_rows(model, data);
    check_limit("max_example_norm", results.max_example_norm);
    const Call<Real> call(*on_);
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, poll);
    weigh(job, data, results.sum != 0);
    check_apart(model, sizeof(Real), params, data, nullptr, nullptr, results);
    seed_by_loss(job, data);
    std::optional<HostRows<Real>> host_weights;
    if (job.seed == Seed::function) job.weights = host_weights.emplace(*on_, job.weights).rows();
    ask_for(job, results);
    fastbp_results own = results;  // the values that the job itself leaves in the caller's memory
    const bool shows_values = results.s != nullptr || results.x != nullptr;
    if (job.has_masks && shows_values && (job.backward() || results.deltas != nullptr)) {
        own.deltas = nullptr;
        run_forward_on_all_rows(job, wanted_values(own, job.rows.count).span(), {});
        own.deltas = results.deltas;
        own.s = own.x = nullptr;
    }
    const LayerList<Real> layers = wanted_values(own, job.rows.count);
    job.kept = layers.span();
    run(job, [&](const Plan& plan, Crew<Real>& crew) {
        results.value = results.loss = total_loss(*on_, plan, crew);
        if (results.sum != 0 || !model.has_penalty()) return;
        const Real* p = static_cast<const Real*>(params);
        results.value += penalty(*on_, model.l2, model.l1, model, crew.workspace(0).live(), p);
        if (results.grad != nullptr)
            add_penalties(*on_, model.l2, model.l1, model, p, static_cast<Real*>(results.grad));
    });
    call.finish();
}

template <class Real>
void NetOf<Real>::pull_back(const void* params, const fastbp_data& data, const void* kept,
                            const fastbp_array& cotangent, fastbp_results& results) const {
    check_rows(model, data);
    const Call<Real> call(*on_);
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, poll);
    check_cotangent(model, cotangent, job.rows.count);
    check_apart(model, sizeof(Real), params, data, kept, &cotangent, results);
    job.seed = Seed::cotangent;
    job.cotangent = row_source(cotangent);
    // Kept values are only read here: forward_done.
    LayerList<Real> layers = kept_values(static_cast<Real*>(const_cast<void*>(kept)), job.rows.count);
    job.kept = layers.span();
    job.forward_done = true;
    ask_for(job, results);
    run(job, [](const Plan&, const Crew<Real>&) {});
    call.finish();
}

template <class Real>
void NetOf<Real>::push_forward(const void* params, const fastbp_data& data, fastbp_tangent& t) const {
    check_rows(model, data);
    check_direction(model, data, t);
    const Call<Real> call(*on_);
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, poll);
    job.params_dot = static_cast<const Real*>(t.params_dot);
    job.x_dot = row_source(t.x_dot);
    if (t.output_dot != nullptr)
        job.output_dot = dense(static_cast<Real*>(t.output_dot), job.rows.count, model.outputs());
    job.grad = {static_cast<Real*>(t.grad_dot)};
    if (t.input_grad_dot != nullptr)
        job.input_grad = dense(static_cast<Real*>(t.input_grad_dot), job.rows.count, model.inputs());
    job.along = !job.backward() ? Along::forward : t.gauss_newton != 0 ? Along::gauss_newton : Along::gradient;
    if (job.backward() && t.cotangent.data != nullptr) {
        job.seed = Seed::cotangent;
        job.cotangent = row_source(t.cotangent);
    } else if (job.backward()) {
        weigh(job, data, t.sum != 0);
        seed_by_loss(job, data);
    }
    check_apart(model, sizeof(Real), params, data, t);
    if (job.clears_masked() && t.output_dot != nullptr) {
        run_forward_on_all_rows(job, {}, job.output_dot);
        job.output_dot = {};
    }
    run(job, [](const Plan&, const Crew<Real>&) {});
    // The Hessian of the penalties: l2 on the weights, and nothing of l1.
    if (job.grad.wanted() && job.seed == Seed::loss && t.sum == 0 && model.l2 != 0 && job.params_dot != nullptr)
        add_penalties(*on_, model.l2, 0.0, model, job.params_dot, job.grad.flat);
    call.finish();
}

template <class Real>
Job<Real> NetOf<Real>::job_of(const void* params, const fastbp_data& data, Poll& poll) const {
    Job<Real> job;
    job.params = {static_cast<const Real*>(params), params == nullptr ? data.weights : nullptr,
                  params == nullptr ? data.biases : nullptr};
    job.x = row_source(data.x);
    const bool at_hand = job.x.on_device || !on_->asynchronous();
    if (job.x.compressed() && on_->keeps_rows_compressed())
        job.kept_per_row = most_kept(job.x);
    else if (data.order == nullptr && at_hand)
        job.x_view = view_in_place<Real>(job.x);
    job.rows = job.host_rows = row_range(data);
    job.weights = row_source(data.sample_weight);
    job.poll = &poll;
    return job;
}

// Sets the factor on every c_n e_n, and whether some c is 0, from targets that are checked here.
template <class Real>
void NetOf<Real>::weigh(Job<Real>& job, const fastbp_data& data, bool sum) const {
    const Weighing of_all = check_targets(*on_, model, data, sum ? WeightUse::sum : WeightUse::mean);
    job.has_masks = of_all.has_masks;
    if (!sum) job.scale = 1 / (data.order == nullptr ? of_all.total : weight_of_order(*on_, job.weights, job.rows));
}

template <class Real>
void NetOf<Real>::seed_by_loss(Job<Real>& job, const fastbp_data& data) const {
    job.y = row_source(data.y);
    job.y_is_classes = y_is_classes(model, data);
    job.function = {data.loss_function, data.loss_context};
    job.seed = data.loss_function != nullptr ? Seed::function : Seed::loss;
}

template <class Real>
void NetOf<Real>::ask_for(Job<Real>& job, const fastbp_results& results) const {
    job.grad = {static_cast<Real*>(results.grad), results.grad == nullptr ? results.weight_grads : nullptr,
                results.grad == nullptr ? results.bias_grads : nullptr};
    job.accumulate = results.accumulate != 0;
    job.example_loss = results.example_loss;
    job.example_grad_norm = results.example_grad_norm;
    job.max_example_norm = results.max_example_norm;
    if (results.input_grad != nullptr)
        job.input_grad = dense(static_cast<Real*>(results.input_grad), job.rows.count, model.inputs());
}

// The layers' places in a kept forward pass: x(l), then s(l) where g' needs it. Without memory: empty views.
template <class Real>
LayerList<Real> NetOf<Real>::kept_values(Real* kept, Index n) const {
    return {model.layers.size(), [&, kept](std::size_t k) mutable -> LayerValues<Real> {
                const LayerShape& layer = model.layers[k];
                const auto take = [&] {
                    if (kept == nullptr) return Matrix<Real>{};
                    Real* piece = kept;
                    kept += n * layer.outputs;
                    return dense(piece, n, layer.outputs);
                };
                const Matrix<Real> x = take();
                return {derivative_needs_s(layer.g) ? take() : Matrix<Real>{}, x, {}, {}};
            }};
}

template <class Real>
LayerList<Real> NetOf<Real>::wanted_values(const fastbp_results& results, Index n) const {
    return {model.layers.size(), [&](std::size_t k) -> LayerValues<Real> {
                const auto at = [&](void* const* list) {
                    void* data = list == nullptr ? nullptr : list[k];
                    return data == nullptr ? Matrix<Real>{}
                                           : dense(static_cast<Real*>(data), n, model.layers[k].outputs);
                };
                return {at(results.s), at(results.x), at(results.deltas), {}};
            }};
}

// Where the loss is the caller's function, which may fail half-way, the gradient is first left in the crew: a failed
// call leaves the caller's as it was. after(plan, crew) runs when all is done, or enqueued.
template <class Real>
template <class After>
void NetOf<Real>::run(Job<Real> job, After after) const {
    if (on_->asynchronous() && job.rows.order != nullptr)
        throw Error(ErrorKind::value, "an order of rows is for training, where the net is on a device");
    const Plan plan = plan_for(job, job.rows.count);
    const bool careful = job.seed == Seed::function && job.grad.wanted();
    const int team = team_for(plan, job);
    const auto crew = free_.borrow(
        *on_, model, plan,
        {team, careful ? extra_gradients(plan) : 0, job.along != Along::nothing, !job.x_dot.empty(), job.kept_per_row});
    const Gradient<Real> grad = job.grad;
    const bool accumulate = job.accumulate;
    if (careful) {
        job.grad = {(*crew).gradient(0).data};
        job.accumulate = false;
        job.leave_partials = true;
    }
    (*crew).start();
    const bool paced = team > 1 && forced_team() == 0;
    Pace& pace = (*crew).pace(job.work());
    const double begin = paced ? seconds_now() : 0;
    by_team(paced && pace.alone() ? 1 : team, worth_waking(plan, 1), [&](const Member& member) {
        prepare(*on_, member, *crew, job);
        static_cast<void>(carry_out(*on_, member, plan, *crew, job));
    });
    if (paced) pace.took(begin, seconds_now());
    throw_if((*crew).stopped());
    if (careful) {
        Barrier alone(1);
        add_partials<Real>(*on_, {0, alone}, model, (*crew).partials(0, std::max(plan.partial_gradients(), 1)),
                           accumulate, grad);
    }
    after(plan, *crew);
}

// Runs a forward pass for the results that a caller asks for, because the job's own pass clears rows of weight 0.
template <class Real>
void NetOf<Real>::run_forward_on_all_rows(Job<Real> job, std::span<const LayerValues<Real>> kept,
                                          Matrix<Real> output_dot) const {
    job.seed = Seed::none;
    job.kept = kept;
    job.output_dot = output_dot;
    job.along = output_dot.empty() ? Along::nothing : Along::forward;
    job.grad = {};
    job.input_grad = {};
    job.example_loss = job.example_grad_norm = nullptr;
    job.max_example_norm = 0;
    run(job, [](const Plan&, const Crew<Real>&) {});
}

template class NetOf<float>;
template class NetOf<double>;

std::unique_ptr<fastbp_net> make_net(const fastbp_net_spec& spec) {
    const std::string device = device_of(spec);
    const BackendOptions options{precision_of(spec), spec.deterministic != 0};
    const LentThreads threads = spec.pool == nullptr ? LentThreads() : LentThreads(spec.pool, spec.pool_context);
    if (spec.type == FASTBP_FLOAT32) return std::make_unique<NetOf<float>>(make_model(spec), device, options, threads);
    if (spec.type == FASTBP_FLOAT64) return std::make_unique<NetOf<double>>(make_model(spec), device, options, threads);
    throw Error(ErrorKind::value, "dtype is not float32 or float64");
}

}  // namespace fastbp
