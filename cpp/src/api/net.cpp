#include "api/net_of.hpp"

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

}  // namespace

template <class Real>
void NetOf<Real>::check(const fastbp_data& data, std::int32_t targets) const {
    check_rows(model, data);
    if (targets == FASTBP_CHECK_ROWS) return;
    const Call<Real> call(runner_.backend());
    const WeightUse use = targets == FASTBP_CHECK_SUM ? WeightUse::sum : WeightUse::steps;
    check_targets(runner_.backend(), model, data, use);
}

template <class Real>
void NetOf<Real>::forward(const void* params, const fastbp_data& data, void* out, void* kept) const {
    const Index kept_per_row = check_rows(model, data);
    const Index n = row_range(data).count;
    check_apart(model, sizeof(Real), params, data, out, kept);
    const Call<Real> call(runner_.backend());
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, kept_per_row, poll);
    LayerList<Real> layers = kept_values(static_cast<Real*>(kept), n);
    const Matrix<Real> own = layers.back().x;
    if (out != nullptr) layers.back().x = dense(static_cast<Real*>(out), n, model.outputs());
    job.outputs.kept = layers.span();
    runner_.run(job);
    // The pullback reads x(L) from the kept values, the caller from out.
    if (out != nullptr && kept != nullptr) runner_.backend().copy(layers.back().x, own);
    call.finish();
}

template <class Real>
void NetOf<Real>::evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const {
    const Index kept_per_row = check_rows(model, data);
    check_limit("max_example_norm", results.max_example_norm);
    const Call<Real> call(runner_.backend());
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, kept_per_row, poll);
    weigh(job, data, results.sum != 0);
    check_apart(model, sizeof(Real), params, data, nullptr, nullptr, results);
    job.seed = seed_of(data);
    std::optional<HostRows<Real>> host_weights;
    if (job.by_function()) job.rows.weights = host_weights.emplace(runner_.backend(), job.rows.weights).rows();
    const Index n = job.rows.range.count;
    ask_for(job.outputs, results, n);
    job.outputs.loss = true;
    job.max_example_norm = results.max_example_norm;
    if (results.sum == 0) job.penalties = {model.l2, model.l1};
    fastbp_results own = results;  // the values that the job itself leaves in the caller's memory
    const bool shows_values = results.s != nullptr || results.x != nullptr;
    if (job.rows.has_masks && shows_values && (job.backward() || results.deltas != nullptr)) {
        own.deltas = nullptr;
        run_forward_on_all_rows(job, wanted_values(own, n).span(), {});
        own.deltas = results.deltas;
        own.s = own.x = nullptr;
    }
    const LayerList<Real> layers = wanted_values(own, n);
    job.outputs.kept = layers.span();
    const LossEntry found = runner_.run(job);
    call.finish();
    results.loss = found.loss;
    results.value = found.loss + found.penalty;
}

template <class Real>
void NetOf<Real>::pull_back(const void* params, const fastbp_data& data, const void* kept,
                            const fastbp_array& cotangent, fastbp_results& results) const {
    const Index kept_per_row = check_rows(model, data);
    const Call<Real> call(runner_.backend());
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, kept_per_row, poll);
    const Index n = job.rows.range.count;
    check_cotangent(model, cotangent, n);
    check_apart(model, sizeof(Real), params, data, kept, &cotangent, results);
    job.seed = CotangentSeed{row_source(cotangent)};
    // Kept values are only read here: forward_done.
    LayerList<Real> layers = kept_values(static_cast<Real*>(const_cast<void*>(kept)), n);
    ask_for(job.outputs, results, n);
    job.max_example_norm = results.max_example_norm;
    job.outputs.kept = layers.span();
    job.outputs.forward_done = true;
    runner_.run(job);
    call.finish();
}

template <class Real>
void NetOf<Real>::push_forward(const void* params, const fastbp_data& data, fastbp_tangent& t) const {
    const Index kept_per_row = check_rows(model, data);
    check_direction(model, data, t);
    const Index n = row_range(data).count;
    const Call<Real> call(runner_.backend());
    Poll poll(data.poll, data.poll_context);
    Job<Real> job = job_of(params, data, kept_per_row, poll);
    Outputs<Real>& outputs = job.outputs;
    outputs.grad = {static_cast<Real*>(t.grad_dot)};
    if (t.input_grad_dot != nullptr)
        outputs.input_grad = dense(static_cast<Real*>(t.input_grad_dot), n, model.inputs());
    const TangentMode mode = !job.backward()       ? TangentMode::forward
                             : t.gauss_newton != 0 ? TangentMode::gauss_newton
                                                   : TangentMode::gradient;
    Direction<Real>& direction = job.direction.emplace();
    direction = {mode, static_cast<const Real*>(t.params_dot), row_source(t.x_dot), {}};
    if (t.output_dot != nullptr) direction.output_dot = dense(static_cast<Real*>(t.output_dot), n, model.outputs());
    if (job.backward() && t.cotangent.data != nullptr) {
        job.seed = CotangentSeed{row_source(t.cotangent)};
    } else if (job.backward()) {
        weigh(job, data, t.sum != 0);
        job.seed = seed_of(data);
        if (t.sum == 0) job.penalties = {model.l2, model.l1};
    }
    check_apart(model, sizeof(Real), params, data, t);
    if (job.clears_masked() && t.output_dot != nullptr) {
        run_forward_on_all_rows(job, {}, direction.output_dot);
        direction.output_dot = {};
    }
    runner_.run(job);
    call.finish();
}

template <class Real>
Job<Real> NetOf<Real>::job_of(const void* params, const fastbp_data& data, Index kept_per_row, Poll& poll) const {
    Job<Real> job;
    job.params = {static_cast<const Real*>(params), params == nullptr ? data.weights : nullptr,
                  params == nullptr ? data.biases : nullptr};
    Rows<Real>& rows = job.rows;
    rows.x = row_source(data.x);
    rows.weights = row_source(data.sample_weight);
    rows.range = rows.host_range = row_range(data);
    const bool is_readable = rows.x.on_device == runner_.traits().distant;
    if (rows.x.compressed() && runner_.traits().keeps_rows_compressed)
        rows.kept_per_row = kept_per_row;
    else if (data.order == nullptr && is_readable)
        rows.x_view = view_in_place<Real>(rows.x);
    job.poll = &poll;
    return job;
}

// Sets the factor on every c_n e_n, and whether some c is 0, from targets that are checked here.
template <class Real>
void NetOf<Real>::weigh(Job<Real>& job, const fastbp_data& data, bool sum) const {
    Backend<Real>& on = runner_.backend();
    const Weighing of_all = check_targets(on, model, data, sum ? WeightUse::sum : WeightUse::mean);
    job.rows.has_masks = of_all.has_masks;
    if (sum) return;
    job.scale = 1 / (data.order == nullptr ? of_all.total : weight_of_order(on, job.rows.weights, job.rows.range));
}

template <class Real>
Seed NetOf<Real>::seed_of(const fastbp_data& data) const {
    if (data.loss_function != nullptr) return FunctionSeed{data.loss_function, data.loss_context};
    return LossSeed{row_source(data.y), y_is_classes(model, data)};
}

template <class Real>
void NetOf<Real>::ask_for(Outputs<Real>& outputs, const fastbp_results& results, Index n) const {
    outputs.grad = {static_cast<Real*>(results.grad), results.grad == nullptr ? results.weight_grads : nullptr,
                    results.grad == nullptr ? results.bias_grads : nullptr};
    outputs.accumulate = results.accumulate != 0;
    outputs.example_loss = results.example_loss;
    outputs.example_grad_norm = results.example_grad_norm;
    if (results.input_grad != nullptr)
        outputs.input_grad = dense(static_cast<Real*>(results.input_grad), n, model.inputs());
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

// Runs a forward pass for the results that a caller asks for, because the job's own pass clears rows of weight 0.
template <class Real>
void NetOf<Real>::run_forward_on_all_rows(Job<Real> job, std::span<const LayerValues<Real>> kept,
                                          Matrix<Real> output_dot) const {
    job.seed = NoSeed{};
    job.outputs = {};
    job.outputs.kept = kept;
    job.max_example_norm = 0;
    job.penalties = {};
    if (output_dot.empty()) {
        job.direction.reset();
    } else {
        job.direction->mode = TangentMode::forward;
        job.direction->output_dot = output_dot;
    }
    runner_.run(job);
}

template class NetOf<float>;
template class NetOf<double>;

std::unique_ptr<fastbp_net> make_net(const fastbp_net_spec& spec) {
    const std::string device = device_of(spec);
    const BackendOptions options{precision_of(spec), spec.deterministic != 0};
    const ExternalPool threads = spec.pool == nullptr ? ExternalPool() : ExternalPool(spec.pool, spec.pool_context);
    if (spec.type == FASTBP_FLOAT32) return std::make_unique<NetOf<float>>(make_model(spec), device, options, threads);
    if (spec.type == FASTBP_FLOAT64) return std::make_unique<NetOf<double>>(make_model(spec), device, options, threads);
    throw Error(ErrorKind::value, "dtype is not float32 or float64");
}

}  // namespace fastbp
