#include "api/net.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <memory_resource>
#include <span>

#include "api/checks.hpp"
#include "backend/make_backend.hpp"
#include "execution/carry_out.hpp"
#include "execution/partials.hpp"
#include "execution/penalty.hpp"
#include "execution/thread_pool.hpp"
#include "execution/threads.hpp"
#include "execution/weights.hpp"
#include "training/epoch.hpp"

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

// The layers' places in the caller's memory, for one call: a list on the stack, but for very deep nets.
template <class Real>
class LayerList {
  public:
    template <class Make>
    LayerList(std::size_t layers, Make make) : list_(&resource_) {
        list_.reserve(layers);
        for (std::size_t k = 0; k < layers; ++k) list_.push_back(make(k));
    }
    LayerValues<Real>& back() { return list_.back(); }
    std::span<const LayerValues<Real>> span() const { return list_; }

  private:
    alignas(LayerValues<Real>) std::array<std::byte, 32 * sizeof(LayerValues<Real>)> memory_;
    std::pmr::monotonic_buffer_resource resource_{memory_.data(), memory_.size()};
    std::pmr::vector<LayerValues<Real>> list_;
};

template <class Real>
class NetOf final : public fastbp_net {
  public:
    NetOf(Model m, const std::string& device) : fastbp_net(std::move(m)), on_(make_backend<Real>(device)) {}

    void forward(const void* params, const fastbp_data& data, void* out, void* kept) const override {
        check_rows(model, data);
        Poll poll(data.poll, data.poll_context);
        Job<Real> job = job_of(params, data, poll);
        LayerList<Real> layers = kept_values(static_cast<Real*>(kept), job.rows.count);
        if (out != nullptr) layers.back().x = dense(static_cast<Real*>(out), job.rows.count, model.outputs());
        job.kept = layers.span();
        run(job);
        // The pullback finds x(L) among the kept values, the caller in out.
        if (out != nullptr && kept != nullptr) {
            const LayerValues<Real> own = kept_values(static_cast<Real*>(kept), job.rows.count).back();
            on_->copy(layers.back().x, own.x);
        }
    }

    void evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const override {
        check_rows(model, data);
        check_targets(model, data, results.sum != 0);
        Poll poll(data.poll, data.poll_context);
        Job<Real> job = job_of(params, data, poll);
        const double weight = weight_of(job.weights, job.rows);
        job.scale = results.sum != 0 ? 1.0 : 1.0 / weight;
        seed_by_loss(job, data);
        LayerList<Real> layers = wanted_values(results, job.rows.count);
        job.kept = layers.span();
        ask_for(job, results);
        results.loss = run(job);
        results.value = results.loss;
        if (results.sum == 0 && model.has_penalty()) add_penalties_to(results, static_cast<const Real*>(params));
    }

    void pull_back(const void* params, const fastbp_data& data, const void* kept, const fastbp_array& cotangent,
                   fastbp_results& results) const override {
        check_rows(model, data);
        Poll poll(data.poll, data.poll_context);
        Job<Real> job = job_of(params, data, poll);
        check_cotangent(model, cotangent, job.rows.count);
        job.seed = Seed::cotangent;
        job.cotangent = row_source(cotangent);
        // Kept values are only read here: forward_done.
        LayerList<Real> layers = kept_values(static_cast<Real*>(const_cast<void*>(kept)), job.rows.count);
        job.kept = layers.span();
        job.forward_done = true;
        ask_for(job, results);
        run(job);
    }

    void push_forward(const void* params, const fastbp_data& data, fastbp_tangent& t) const override {
        check_rows(model, data);
        check_direction(model, data, t);
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
            check_targets(model, data, t.sum != 0);
            job.scale = t.sum != 0 ? 1.0 : 1.0 / weight_of(job.weights, job.rows);
            seed_by_loss(job, data);
        }
        run(job);
        // The Hessian of the penalties: l2 on the weights, and nothing of l1.
        if (job.grad.wanted() && job.seed == Seed::loss && t.sum == 0 && model.l2 != 0 && job.params_dot != nullptr)
            add_penalties(*on_, model.l2, 0.0, model, job.params_dot, job.grad.flat);
    }

    void run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const override {
        check_rows(model, data);
        check_targets(model, data, false);
        if (epoch.batch_size < 1)
            throw Error(ErrorKind::value,
                        "batch_size is " + std::to_string(epoch.batch_size) + ", expected at least 1");
        Poll poll(data.poll, data.poll_context);
        Job<Real> job = job_of(nullptr, data, poll);
        seed_by_loss(job, data);
        job.max_example_norm = epoch.max_example_norm;
        Epoch<Real> state;
        state.rule = step_rule(epoch.rule);
        std::array<Vector<Real>, most_moments> moments;
        const auto moments_kept = std::size_t(moment_count(state.rule));
        for (std::size_t k = 0; k < moments_kept; ++k)
            moments[k] = {static_cast<Real*>(epoch.moments[k]), model.parameter_count};
        state.moments = {moments.data(), moments_kept};
        epoch.steps_done = 0;
        state.steps_done = &epoch.steps_done;
        if (epoch.drop_last != 0 && epoch.batch_size > job.rows.count) return;  // no whole mini-batch
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
        const Plan plan = state.plan = plan_for(job, state.batch_size);
        const int team = team_for(plan, job);
        const int extra = state.needs_gradient() ? 1 : extra_gradients(plan);
        const auto crew = free_.borrow(*on_, model, plan, {team, extra, false, false, job.kept_per_row});
        (*crew).start();
        const double steps = double(steps_of_epoch(job.rows.count, state.batch_size, state.drop_last));
        ThreadPool::get().run(team, forced_team() > 0 ? 1.0 : steps * plan.seconds_alone, [&](const Member& member) {
            fastbp::run_epoch(*on_, member, model, *crew, static_cast<Real*>(params), job, state);
        });
        epoch.step = state.step;
        epoch.loss_sum = state.loss_sum;
        epoch.weight_sum = state.weight_sum;
        throw_if_stopped(*crew);
    }

  private:
    Job<Real> job_of(const void* params, const fastbp_data& data, Poll& poll) const {
        Job<Real> job;
        job.params = {static_cast<const Real*>(params), params == nullptr ? data.weights : nullptr,
                      params == nullptr ? data.biases : nullptr};
        job.x = row_source(data.x);
        if (job.x.compressed())
            job.kept_per_row = most_kept(job.x);
        else if (data.order == nullptr)
            job.x_view = view_in_place<Real>(job.x);
        job.rows = row_range(data);
        job.weights = row_source(data.sample_weight);
        job.poll = &poll;
        return job;
    }

    void seed_by_loss(Job<Real>& job, const fastbp_data& data) const {
        job.y = row_source(data.y);
        job.y_is_classes = y_is_classes(model, data);
        job.function = {data.loss_function, data.loss_context};
        job.seed = data.loss_function != nullptr ? Seed::function : Seed::loss;
    }

    void ask_for(Job<Real>& job, const fastbp_results& results) const {
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
    LayerList<Real> kept_values(Real* kept, Index n) const {
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

    LayerList<Real> wanted_values(const fastbp_results& results, Index n) const {
        return {model.layers.size(), [&](std::size_t k) -> LayerValues<Real> {
                    const auto at = [&](void* const* list) {
                        void* data = list == nullptr ? nullptr : list[k];
                        return data == nullptr ? Matrix<Real>{}
                                               : dense(static_cast<Real*>(data), n, model.layers[k].outputs);
                    };
                    return {at(results.s), at(results.x), at(results.deltas), {}};
                }};
    }

    void add_penalties_to(fastbp_results& results, const Real* params) const {
        Slots<Real> slots;
        results.value += penalty(*on_, model.l2, model.l1, model, slots, params);
        if (results.grad != nullptr)
            add_penalties(*on_, model.l2, model.l1, model, params, static_cast<Real*>(results.grad));
    }

    // A loss function is the caller's code, and is not called by several threads at a time.
    static int threads_for(const Job<Real>& job) { return job.seed == Seed::function ? 1 : num_threads(); }

    Plan plan_for(const Job<Real>& job, Index rows) const {
        const Index kept = job.x.compressed() ? job.x.start(job.x.rows) / std::max<Index>(job.x.rows, 1) + 1 : 0;
        return make_plan(model, rows, sizeof(Real), threads_for(job), kept);
    }

    static int team_for(const Plan& plan, const Job<Real>& job) {
        const int team = forced_team() > 0 && job.seed != Seed::function ? forced_team() : threads_for(job);
        return std::min(plan.parts, team);
    }

    static void throw_if_stopped(const Crew<Real>& crew) {
        switch (crew.stopped()) {
            case Stop::none: return;
            case Stop::interrupted: throw Error(ErrorKind::interrupted, "interrupted");
            case Stop::callback_failed: throw Error(ErrorKind::interrupted, "a callback failed");
            case Stop::not_finite: throw Error(ErrorKind::floating_point, "the loss is not finite");
        }
    }

    // Where the loss is the caller's function, which may fail half-way, the gradient is first left in the crew: a
    // failed call leaves the caller's as it was.
    double run(Job<Real> job) const {
        const Plan plan = plan_for(job, job.rows.count);
        const bool careful = job.seed == Seed::function && job.grad.wanted();
        const int team = team_for(plan, job);
        const auto crew = free_.borrow(*on_, model, plan,
                                       {team, careful ? extra_gradients(plan) : 0, job.along != Along::nothing,
                                        !job.x_dot.empty(), job.kept_per_row});
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
        ThreadPool::get().run(
            paced && pace.alone() ? 1 : team, forced_team() > 0 ? 1.0 : plan.seconds_alone,
            [&](const Member& member) { static_cast<void>(carry_out(*on_, member, plan, *crew, job)); });
        if (paced) pace.took(begin, seconds_now());
        throw_if_stopped(*crew);
        if (careful) {
            Barrier alone(1);
            add_partials<Real>(*on_, {0, alone}, model, (*crew).partials(0, std::max(plan.partial_gradients(), 1)),
                               accumulate, grad);
        }
        return total_loss(plan, *crew);
    }

    const std::unique_ptr<Backend<Real>> on_;
    mutable FreeList<Real> free_;
};

}  // namespace

std::unique_ptr<fastbp_net> make_net(const fastbp_net_spec& spec) {
    const std::string device = spec.device == nullptr ? "cpu" : spec.device;
    if (spec.type == FASTBP_FLOAT32) return std::make_unique<NetOf<float>>(make_model(spec), device);
    if (spec.type == FASTBP_FLOAT64) return std::make_unique<NetOf<double>>(make_model(spec), device);
    throw Error(ErrorKind::value, "dtype is not float32 or float64");
}

}  // namespace fastbp
