// Operations of the CUDA backend that read what lies on the device when they run, recorded steps, and sizes at which
// sums go in several pieces; against the plain backend.
#include "two_devices.hpp"

namespace fastbp::test {
namespace {

// ---- optimiser's steps -----------------------------------------------------------------------------------------

std::vector<StepRule> rules() {
    std::vector<StepRule> list(10);
    list[1].momentum = 0.9;
    list[1].dampening = 0.25;
    list[2].momentum = 0.8;
    list[2].nesterov = true;
    list[3].kind = Optimizer::adam;
    list[4].kind = Optimizer::adamw;
    for (int k = 5; k < 8; ++k) list[k].kind = Optimizer::rmsprop;
    list[6].centered = true;
    list[7].momentum = 0.9;
    list[7].centered = true;
    list[8].kind = Optimizer::adagrad;
    list[9].kind = Optimizer::rprop;
    for (StepRule& rule : list) rule.weight_decay = rule.kind == Optimizer::rprop ? 0 : 0.01;
    return list;
}

template <class Real>
void check_updates(Devices<Real>& devices) {
    constexpr std::size_t size = 700;
    for (const StepRule& rule : rules())
        for (const int count : {1, 3, 64}) {
            const Numbers<Real, Real> params(devices, random<Real>(size)),
                gradients(devices, random<Real>(count * size));
            const Numbers<Real, Real> moments(devices, random<Real>(most_moments * size, 1, 2));
            for (const Index step : {1, 0, 2, 3}) {
                const Numbers<StepScalars, Real> now(devices, {{0.01, step}});
                devices.both([&](Backend<Real>& on, int d) {
                    std::vector<Vector<const Real>> partials;
                    for (int k = 0; k < count; ++k) partials.push_back({gradients[d] + k * size, size});
                    std::vector<Vector<Real>> kept;
                    for (int k = 0; k < moment_count(rule); ++k) kept.push_back({moments[d] + k * size, size});
                    on.update(rule, now[d], partials, params.vector(d), kept);
                });
                const std::string what = "update of rule " + std::to_string(int(rule.kind));
                params.expect_equal(20 * tolerance<Real>, what);
                moments.expect_equal(20 * tolerance<Real>, what);
            }
        }
}

// ---- a layer ---------------------------------------------------------------------------------------------------

// One layer and the one below it, forward and back and into its parameters, with and without dropout.
template <class Real>
void check_layer(Devices<Real>& devices, Activation kind, double keep) {
    constexpr Index n = 37, inputs = 19, outputs = 23;
    const ActivationFunction<Real> g{kind, Real(0.3)};
    const auto matrix = [&](std::size_t size) { return Numbers<Real, Real>(devices, random<Real>(size, -1, 1)); };
    const Numbers<Real, Real> x0 = matrix(n * inputs), w = matrix(inputs * outputs), b = matrix(outputs);
    const Numbers<Real, Real> s(devices, nans<Real>(n * outputs)), x(devices, nans<Real>(n * outputs));
    const Numbers<Real, Real> delta = matrix(n * inputs), below(devices, nans<Real>(n * outputs));
    const Numbers<Real, Real> gradient(devices, nans<Real>(inputs * outputs)),
        bias_gradient(devices, nans<Real>(outputs));
    const Numbers<Index, Real> order(devices, std::vector<Index>(n + 5, 6)), step(devices, {4}), moved(devices, {3});
    const Numbers<Blend<Real>, Real> overwrite(devices, {{1, 0}}), more(devices, {{Real(-0.5), 1}});
    devices.both([&](Backend<Real>& on, int d) {
        LayerValues<Real> values{s.matrix(d, n, outputs), x.matrix(d, n, outputs), below.matrix(d, n, outputs), {}};
        if (keep < 1) values.dropout = {keep, 0x123456789abcULL, step[d], 2, {order[d], 1, n, moved[d]}, 5};
        if (keep == 1 && !derivative_needs_s(kind)) values.x = values.s;
        const Matrix<Real> in = x0.matrix(d, n, inputs);
        const Layer<Real> layer{w.matrix(d, inputs, outputs), b.vector(d), g};
        on.affine_activate(layer, {in}, {}, values);
        // The same weights, transposed, as the layer above.
        const Layer<Real> above{Matrix<const Real>(layer.w).transposed(), {}, {}};
        on.propagate_delta(above, delta.matrix(d, n, inputs), g, values);
        const Matrix<Real> of_w = gradient.matrix(d, inputs, outputs);
        const Vector<Real> of_b = bias_gradient.vector(d);
        on.accumulate_gradients({in}, values.delta, {of_w, of_b, overwrite[d], overwrite[d]});
        on.accumulate_gradients({in}, values.delta, {of_w, of_b, more[d], more[d]});
    });
    const std::string what = "a layer with activation " + std::to_string(int(kind));
    for (const auto* numbers : {&s, &below, &gradient, &bias_gradient})
        numbers->expect_equal(40 * tolerance<Real>, what);
    if (keep < 1 || derivative_needs_s(kind)) x.expect_equal(40 * tolerance<Real>, what + ": x");
}

// ---- sums in several pieces ------------------------------------------------------------------------------------

template <class Real>
void check_sums(Devices<Real>& devices, Index rows, Index cols) {
    const Numbers<Real, Real> m(devices, random<Real>(rows * cols)), b(devices, nans<Real>(cols));
    const Numbers<Real, Real> turned(devices, nans<Real>(rows));
    const Numbers<double, Real> sums(devices, {1, 2}), factor(devices, {-1, -1, -1}), largest(devices, {0.25});
    const Numbers<Index, Real> place(devices, {-2});
    devices.both([&](Backend<Real>& on, int d) {
        on.column_sums(2, m.matrix(d, rows, cols), 0, b.vector(d));
        on.column_sums(1, m.matrix(d, rows, cols), 1, b.vector(d));
        on.column_sums(1, m.matrix(d, rows, cols).transposed(), 0, turned.vector(d));
        on.sum_of_squares(m.vector(d), nullptr, sums[d]);
        on.sum_of_magnitudes(m.vector(d), sums[d] + 1);
        on.clip_factor(sums[d], nullptr, 0.5, factor[d]);
        on.clip_factor(sums[d], nullptr, 1e9, factor[d] + 1);
        on.largest_magnitude(m.matrix(d, rows, cols), largest[d]);
        on.find_larger(m.vector(d), 0.5, place[d]);
    });
    largest.expect_equal(0, "largest magnitude");
    place.expect_equal(0, "last place of a larger number");
    const double scale = double(rows + cols);
    b.expect_equal(scale * tolerance<Real>, "column sums");
    turned.expect_equal(scale * tolerance<Real>, "column sums of a transposed view");
    sums.expect_equal(1e-11, "sums");
    factor.expect_equal(1e-11, "factors");
}

template <class Real>
void check_ledger(Devices<Real>& devices) {
    const Numbers<LossEntry, Real> entries(devices, std::vector<LossEntry>(4, {-1, -1}));
    const Numbers<double, Real> loss(devices, {3, 1, 5, 0, HUGE_VAL, 0, 7, 0}), sums(devices, {4, 0.5});
    const Numbers<Index, Real> numbers(devices, {0, 1, 2, 3});
    const Numbers<Ledger, Real> ledger(devices, {{}});
    const Numbers<StepScalars, Real> now(devices, {{1, 9}});
    devices.both([&](Backend<Real>& on, int d) {
        const Ledger empty{entries[d]};
        on.upload(&empty, ledger[d], sizeof empty);
        for (int k = 0; k < 4; ++k) on.note_loss({loss[d] + 2 * k, 2}, numbers[d] + k, ledger[d], now[d]);
        on.note_penalty(sums[d], sums[d] + 1, 0.5, 2, numbers[d] + 1, ledger[d]);
        on.clear(sums[d]);
    });
    sums.expect_equal(0, "a slot that is cleared");
    for (int d = 0; d < 2; ++d) {
        const auto found = entries.read(d);
        expect(found[0].loss == 4 && found[1].loss == 5, "the loss of an entry is the sum of its parts");
        expect(found[1].penalty == 2 && found[0].penalty == -1, "penalties go to their entry");
        expect(sums.read(d)[0] == 0 && sums.read(d)[1] == 0.5, "one slot is cleared");
        expect(ledger.read(d)[0].refused_entry == 2, "a ledger keeps the first loss that is not finite");
        expect(now.read(d)[0].step == 0, "no step behind a loss that is not finite");
    }
}

// ---- recorded steps --------------------------------------------------------------------------------------------

// Adds a number, read when the step runs, and counts how often the host went through it.
template <class Real>
struct Adding final : Step {
    Backend<Real>& on;
    Vector<Real> sum, more;
    bool asks = false;
    int walks = 0;

    Adding(Backend<Real>& backend, Vector<Real> to, Vector<Real> from) : on(backend), sum(to), more(from) {}
    void run() noexcept override {
        ++walks;
        on.add(dense(more.data, 1, more.size), dense(sum.data, 1, sum.size));
        Real first = 0;
        if (asks) on.download(sum.data, &first, sizeof first);
    }
};

template <class Real>
void check_replay(Devices<Real>& devices, bool asks) {
    const Numbers<Real, Real> sum(devices, std::vector<Real>(300, 1)), more(devices, std::vector<Real>(300, 2));
    constexpr int runs = 50;
    devices.both([&](Backend<Real>& on, int d) {
        Adding<Real> step(on, sum.vector(d), more.vector(d));
        step.asks = asks;
        for (int k = 0; k < runs; ++k) {
            const Real next = Real(k);
            on.upload(&next, more[d], sizeof next);
            on.replay(step);
        }
        if (d == 1) expect(step.walks == (asks ? runs : 2), "a step is walked through once, and once to record it");
        on.forget(step);
        on.replay(step);
        on.forget(step);
    });
    sum.expect_equal(0, "a recorded step");
}

template <class Real>
struct Multiplying final : Step {
    Backend<Real>& on;
    const Matrix<Real> factor, product;
    int walks = 0;

    Multiplying(Backend<Real>& backend, Matrix<Real> f, Matrix<Real> p) : on(backend), factor(f), product(p) {}
    void run() noexcept override {
        ++walks;
        on.gemm(1, factor, factor, 0, product);
    }
};

// No recording could time a product, and what it has of it is for good.
template <class Real>
void check_replay_of_products(Devices<Real>& devices) {
    const Numbers<Real, Real> factor(devices, random<Real>(17 * 17)), product(devices, nans<Real>(17 * 17));
    devices.both([&](Backend<Real>& on, int d) {
        for (const int walks : {4, 2}) {  // three times until it is timed; the next step finds that done
            Multiplying<Real> step(on, factor.matrix(d, 17, 17), product.matrix(d, 17, 17));
            for (int k = 0; k < 10; ++k) on.replay(step);
            if (d == 1) expect(step.walks == walks, "a step is recorded when its products are timed");
            on.forget(step);
        }
    });
    product.expect_equal(tolerance<Real>, "a recorded product");
}

template <class Real>
void check_memory(Devices<Real>& devices) {
    Backend<Real>& on = *devices.on[1];
    on.begin_call(nullptr);
    on.begin_call(nullptr);  // a call within a call
    expect(on.allocate(std::size_t(1) << 60) == nullptr && on.failure() == nullptr, "memory lacks, and nothing else");
    on.release(&devices);
    on.end_call();
    expect(on.failure() != nullptr, "what went wrong in it is told");
    on.end_call();
    on.begin_call(nullptr);
    expect(on.failure() == nullptr, "each call begins anew");
    std::vector<double> host = random<double>(40'000), back(host.size());
    void* memory = on.allocate(host.size() * sizeof(double));
    on.upload(host.data(), memory, host.size() * sizeof(double));
    on.download(memory, back.data(), host.size() * sizeof(double));
    expect(host == back && on.failure() == nullptr, "there and back");
    on.end_call();
    on.release(memory);
}

template <class Real>
void check() {
    Devices<Real> devices;
    check_memory(devices);
    check_updates(devices);
    for (int kind = 0; kind < int(Activation::exp); ++kind)
        for (const double keep : {1.0, 0.7}) check_layer(devices, Activation(kind), keep);
    for (const auto& [rows, cols] : {std::pair<Index, Index>{0, 5}, {1, 1}, {2000, 3}, {70, 300}, {2, 70'000}})
        check_sums(devices, rows, cols);
    check_ledger(devices);
    check_replay(devices, false);
    check_replay(devices, true);
    check_replay_of_products(devices);
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::check<float>();
    fastbp::test::check<double>();
    std::puts("operations: as the plain backend does them");
}
