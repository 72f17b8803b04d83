// A backend with a whole-pass kernel for one form of net, under the execution layer: it gives the gradient of the
// equations, in single calls and in training, and is asked where the seam says so and nowhere else.
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "backend/loops/loop_backend.hpp"
#include "backend/loops/make_table.hpp"
#include "backend/make_backend.hpp"
#include "model_of.hpp"
#include "training/epoch.hpp"

namespace fastbp::test {
namespace {

constexpr Index d0 = 4, d1 = 3, d2 = 2;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr LoopTable<double> loops_of_plain = loops::make_table<false, double>();

void expect(bool right, const std::string& what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::exit(1);
}

// The plain backend and a kernel for 4 inputs, 3 units of tanh, 2 outputs and the squared error, row by row.
class Fused : public LoopBackend<double> {
  public:
    explicit Fused(bool only_enqueues) : LoopBackend(loops_of_plain, "fused"), only_enqueues_(only_enqueues) {}
    int asked = 0, done = 0;

    ExecutionTraits traits() const noexcept override {
        return {.asynchronous = only_enqueues_, .shares_operations = only_enqueues_};
    }
    bool try_fused_pass(Network<double> net, const Pass<double>& pass, const LossFunction<double>& loss,
                        const Target<double>& y, double* loss_sum, Sink<double> sink) noexcept override {
        ++asked;
        if (net.size() != 2 || net[0].w.rows != d0 || net[0].w.cols != d1 || net[1].w.cols != d2 ||
            net[0].g.kind != Activation::tanh || net[1].g.kind != Activation::identity ||
            loss.kind != fastbp::Loss::squared_error || pass.x0.csr != nullptr || pass.layer[0].dropout.active())
            return false;
        ++done;
        Sums w1{}, b1{}, w2{}, b2{};
        for (Index n = 0; n < pass.x0.dense.rows; ++n) {
            double h[d1], delta2[d2];
            for (Index i = 0; i < d1; ++i) {
                h[i] = net[0].b[i];
                for (Index p = 0; p < d0; ++p) h[i] += pass.x0.dense(n, p) * net[0].w(p, i);
                h[i] = std::tanh(h[i]);
            }
            for (Index j = 0; j < d2; ++j) {
                double r = net[1].b[j] - y.value(n, j);
                for (Index i = 0; i < d1; ++i) r += h[i] * net[1].w(i, j);
                const double c = *y.scale * y.weight(n, j);
                *loss_sum += c * r * r / 2;
                b2[j] += delta2[j] = c * r;
                for (Index i = 0; i < d1; ++i) w2[i * d2 + j] += h[i] * delta2[j];
            }
            for (Index i = 0; i < d1; ++i) {
                double delta1 = 0;
                for (Index j = 0; j < d2; ++j) delta1 += delta2[j] * net[1].w(i, j) * (1 - h[i] * h[i]);
                b1[i] += delta1;
                for (Index p = 0; p < d0; ++p) w1[p * d1 + i] += pass.x0.dense(n, p) * delta1;
            }
        }
        blend(w1, b1, sink[0]);
        blend(w2, b2, sink[1]);
        for (const LayerValues<double>& values : pass.layer)
            for (const Out& m : {values.s, values.x, values.delta})
                for (Index k = 0; k < m.rows * m.cols; ++k) m.data[k] = nan;
        return true;
    }

  private:
    using Sums = std::array<double, d0 * d1>;

    static void put(double sum, const Blend<double>& blend, double& to) {
        to = blend.alpha * sum + (blend.beta == 0 ? 0 : blend.beta * to);
    }
    static void blend(const Sums& w, const Sums& b, const LayerSink<double>& to) {
        for (Index i = 0; i < to.w.rows; ++i)
            for (Index j = 0; j < to.w.cols; ++j) put(w[i * to.w.cols + j], *to.blend_w, to.w(i, j));
        for (Index j = 0; j < to.b.size; ++j) put(b[j], *to.blend_b, to.b[j]);
    }

    const bool only_enqueues_;
};

struct Problem {
    static constexpr Index rows = 53;
    Model model;
    std::vector<double> params, X, y, c;

    Problem() {
        model.layers = {{d0, d1, Activation::tanh, 0, 0, d0 * d1}, {d1, d2, Activation::identity, 0, 15, 21}};
        model.parameter_count = 23;
        model.loss = Loss::squared_error;
        const auto fill = [](std::vector<double>& to, Index n, double step) {
            for (Index i = 0; i < n; ++i) to.push_back(std::sin(step * double(i + 1)));
        };
        fill(params, model.parameter_count, 1.3);
        fill(X, rows * d0, 0.7);
        fill(y, rows * d2, 0.3);
        for (Index i = 0; i < rows * d2; ++i) c.push_back(double(i % 4));
    }
    static RowSource source(const std::vector<double>& numbers, Index cols) {
        return {
            reinterpret_cast<const std::byte*>(numbers.data()), NumberType::float64, false, rows, cols, 8 * cols, 8};
    }
    Job<double> job() const {
        Job<double> job;
        job.params = {params.data()};
        job.rows.x = source(X, d0);
        job.rows.weights = source(c, d2);
        job.rows.range = job.rows.host_range = {nullptr, 0, rows};
        job.seed = LossSeed{source(y, d2), false};
        job.scale = 0.1;
        return job;
    }
};

void expect_close(const std::vector<double>& found, const std::vector<double>& expected, const std::string& what) {
    for (std::size_t i = 0; i < expected.size(); ++i)
        expect(std::abs(found[i] - expected[i]) <= 1e-13, what + ": number " + std::to_string(i) + " is " +
                                                              std::to_string(found[i]) + ", expected " +
                                                              std::to_string(expected[i]));
}

// ---- single calls ------------------------------------------------------------------------------------------------

// What the caller may want beside the gradient.
struct Memory {
    std::vector<double> grad = std::vector(23, 0.5), input_grad = std::vector(53 * 4, nan),
                        first = std::vector(53 * 3, nan), last = std::vector(53 * 2, nan),
                        of_rows = std::vector(53, nan);
    std::vector<LayerValues<double>> kept{2};
};
using Change = std::function<void(Job<double>&, Plan&, Memory&)>;

// The loss, and all of the memory.
std::vector<double> results_of(Backend<double>& on, const Problem& problem, const Change& change) {
    Memory memory;
    Plan plan{Schedule::rows, Problem::rows, 8, 3};
    Job<double> job = problem.job();
    job.outputs.grad = {memory.grad.data()};
    change(job, plan, memory);
    TeamScratch<double> scratch(on, problem.model, plan, {1, 0, job.direction.has_value(), false, 0});
    Barrier nobody(1);
    const Member alone{0, nobody};
    prepare(on, alone, scratch, job);
    expect(run_job(on, alone, plan, scratch, job), "a job runs to its end");
    std::vector<double> all{total_loss(scratch, plan)};
    for (const auto* part : {&memory.grad, &memory.input_grad, &memory.first, &memory.last, &memory.of_rows})
        for (const double number : *part) all.push_back(std::isnan(number) ? -77 : number);
    return all;
}

int asked_for(const Problem& problem, const Change& change, const std::string& what) {
    Fused fused(false);
    const auto plain = make_backend<double>("plain");
    expect_close(results_of(fused, problem, change), results_of(*plain, problem, change), what);
    expect(fused.done == fused.asked, what + ": a pass that is asked for is done");
    return fused.asked;
}

void gradients() {
    const Problem problem;
    const auto nothing = [](Job<double>&, Plan&, Memory&) {};
    expect(asked_for(problem, nothing, "groups of tiles") == 9, "it is asked for each tile");
    const auto added = [](Job<double>& job, Plan& plan, Memory&) {
        job.outputs.accumulate = true;
        plan.parts = 1;
    };
    expect(asked_for(problem, added, "a gradient that is added to") == 7, "also to a gradient that is added to");
    const auto empty = [](Job<double>& job, Plan& plan, Memory&) {
        job.rows.range.count = plan.rows = 0, plan.parts = 1;
    };
    expect(asked_for(problem, empty, "no rows") == 1, "also without rows");
}

int call_loss(void*, const Index*, Index, Index count, const void* x, double* e, void* dx) {
    for (Index i = 0; i < count; ++i) e[i] = 1;
    for (Index i = 0; i < count * d2; ++i) static_cast<double*>(dx)[i] = static_cast<const double*>(x)[i] / 2;
    return 0;
}

void not_asked() {
    const Problem problem;
    const auto keep = [](Job<double>& job, Memory& m) { job.outputs.kept = m.kept; };
    const std::vector<std::pair<const char*, Change>> cases = {
        {"the loss alone", [](Job<double>& job, Plan&, Memory&) { job.outputs.grad = {}; }},
        {"an input gradient",
         [](Job<double>& job, Plan&, Memory& m) {
             job.outputs.input_grad = dense(m.input_grad.data(), Problem::rows, d0);
         }},
        {"s that is kept",
         [&](Job<double>& job, Plan&, Memory& m) {
             m.kept[0].s = dense(m.first.data(), Problem::rows, d1);
             keep(job, m);
         }},
        {"x that is kept",
         [&](Job<double>& job, Plan&, Memory& m) {
             m.kept[1].x = dense(m.last.data(), Problem::rows, d2);
             keep(job, m);
         }},
        {"delta that is kept",
         [&](Job<double>& job, Plan&, Memory& m) {
             m.kept[1].delta = dense(m.last.data(), Problem::rows, d2);
             keep(job, m);
         }},
        {"losses of rows", [](Job<double>& job, Plan&, Memory& m) { job.outputs.example_loss = m.of_rows.data(); }},
        {"norms of rows", [](Job<double>& job, Plan&, Memory& m) { job.outputs.example_grad_norm = m.of_rows.data(); }},
        {"limited rows", [](Job<double>& job, Plan&, Memory&) { job.max_example_norm = 0.01; }},
        {"a direction",
         [&](Job<double>& job, Plan&, Memory&) {
             job.direction = Direction<double>{TangentMode::gradient, problem.X.data(), {}, {}};
         }},
        {"a cotangent",
         [&](Job<double>& job, Plan&, Memory&) { job.seed = CotangentSeed{Problem::source(problem.y, d2)}; }},
        {"a loss that is a function",
         [](Job<double>& job, Plan&, Memory&) {
             job.seed = FunctionSeed{call_loss};
             job.rows.weights = {};
         }},
        {"a team that shares", [](Job<double>&, Plan& plan, Memory&) { plan.schedule = Schedule::cooperative; }},
    };
    for (const auto& [what, change] : cases)
        expect(asked_for(problem, change, what) == 0, std::string(what) + ": it is not asked");
}

// ---- training ----------------------------------------------------------------------------------------------------

struct Trained {
    std::vector<double> params;
    double loss_sum = 0;
    Index steps = 0;
    Stop stopped = Stop::none;
};

struct Recipe {
    Optimizer kind = Optimizer::adam;
    double max_grad_norm = 0;
};

// One epoch in mini-batches of 8 rows, the last of 5.
Trained train(std::unique_ptr<Backend<double>> on, const Problem& problem, const Recipe& recipe) {
    std::vector<double> m(problem.params.size()), v(m.size());
    const std::vector<double> lr(7, 0.05);
    const Vector<double> moments[] = {{m.data(), Index(m.size())}, {v.data(), Index(v.size())}};
    Trained found{problem.params};
    Epoch<double> epoch;
    epoch.rule.kind = recipe.kind;
    epoch.moments = {moments, std::size_t(moment_count(epoch.rule))};
    epoch.batch_size = 8;
    epoch.lr = lr.data();
    epoch.max_grad_norm = recipe.max_grad_norm;
    double weight_sum = 0;
    Index step = 0;
    const Runner<double> runner(problem.model, std::move(on), {});
    const EpochReport report{found.loss_sum, weight_sum, step, found.steps, nullptr};
    found.stopped = run_epoch(runner, found.params.data(), problem.job(), epoch, report).stopped;
    return found;
}

// An epoch by the fused backend, which must end as that of the plain backend does.
struct FusedEpoch {
    Trained found;
    int asked = 0, done = 0;

    FusedEpoch(bool only_enqueues, const Problem& problem, const Recipe& recipe, const std::string& what) {
        auto owned = std::make_unique<Counted>(only_enqueues, *this);
        found = train(std::move(owned), problem, recipe);
        const Trained expected = train(make_backend<double>("plain"), problem, recipe);
        expect_close(found.params, expected.params, what);
        expect_close({found.loss_sum}, {expected.loss_sum}, what + ", the loss");
        expect(found.steps == expected.steps && found.stopped == expected.stopped, what + ", the end");
    }

  private:
    // Leaves its counts when the runner that owns it ends.
    struct Counted final : Fused {
        Counted(bool only_enqueues, FusedEpoch& counts) : Fused(only_enqueues), to(counts) {}
        ~Counted() override { to.asked = asked, to.done = done; }
        FusedEpoch& to;
    };
};

void training() {
    for (const bool only_enqueues : {false, true}) {
        const std::string way = only_enqueues ? ", enqueued" : "";
        const FusedEpoch clipped(only_enqueues, Problem(), {Optimizer::adam, 0.1}, "a step with the gradient" + way);
        expect(clipped.asked == 7 && clipped.done == 7, "it is asked for each step" + way);
        Problem broken;
        broken.X[20 * d0] = nan;
        const FusedEpoch stopped(only_enqueues, broken, {Optimizer::adam, 0.1}, "a loss that is not finite" + way);
        expect(stopped.found.stopped == Stop::not_finite && stopped.found.steps == 2,
               "which ends the epoch before its step" + way);
        Problem with_dropout;
        with_dropout.model.layers[0].dropout = 0.5;
        const FusedEpoch dropping(only_enqueues, with_dropout, {Optimizer::adam, 0.1}, "dropout" + way);
        expect(dropping.asked == 7 && dropping.done == 0, "the pass says that units are dropped" + way);
    }
    for (const Optimizer kind : {Optimizer::sgd, Optimizer::adam}) {
        const FusedEpoch in_place(false, Problem(), {kind}, "a step within the pass");
        expect(in_place.asked == 0, "a step within the pass: it is not asked");
        const FusedEpoch enqueued(true, Problem(), {kind}, "a step behind the pass");
        expect(enqueued.done == 7, "an enqueued step stands behind its pass");
    }
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::gradients();
    fastbp::test::not_asked();
    fastbp::test::training();
    std::puts("fused_pass: ok");
    return 0;
}
