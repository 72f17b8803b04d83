// Nets on the device beside the same nets on the processor, through the C interface alone: every call, with the data in
// either memory.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "example.hpp"

namespace fastbp::test {
namespace {

constexpr double tolerance = 1e-12;

void expect(bool right, const std::string& what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::exit(1);
}

// Numbers in the device's memory.
template <class T>
class Distant {
  public:
    explicit Distant(std::size_t n) : size_(n) {
        void* memory = nullptr;
        require(fastbp_allocate("cuda", n * sizeof(T), &memory));
        data_ = static_cast<T*>(memory);
    }
    explicit Distant(const std::vector<T>& host) : Distant(host.size()) {
        require(fastbp_upload("cuda", host.data(), data_, size_ * sizeof(T)));
    }
    ~Distant() { fastbp_release("cuda", data_); }
    Distant(const Distant&) = delete;
    Distant& operator=(const Distant&) = delete;
    T* data() const { return data_; }
    std::vector<T> read() const {
        std::vector<T> host(size_);
        require(fastbp_download("cuda", data_, host.data(), size_ * sizeof(T)));
        return host;
    }

  private:
    std::size_t size_;
    T* data_;
};

void expect_close(const std::vector<double>& found, const std::vector<double>& expected, const std::string& what) {
    for (std::size_t i = 0; i < expected.size(); ++i)
        expect(std::abs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i])),
               what + ": number " + std::to_string(i) + " is " + std::to_string(found[i]) + ", expected " +
                   std::to_string(expected[i]));
}

fastbp_array on_device(fastbp_array array) {
    array.on_device = 1;
    return array;
}

struct Nets {
    explicit Nets(const Example& e, double l2 = 0, double dropout = 0)
        : cpu(make(e, "cpu", l2, dropout)), cuda(make(e, "cuda", l2, dropout)) {}

    static Net<double> make(const Example& e, const char* device, double l2, double dropout) {
        fastbp_net_spec spec = spec_for(FASTBP_FLOAT64);
        spec.device = device;
        spec.layers = std::int32_t(e.g.size());
        spec.widths = e.widths.data();
        spec.activations = reinterpret_cast<const std::int32_t*>(e.g.data());
        spec.loss = FASTBP_CROSS_ENTROPY;
        spec.l2 = l2;
        const double rates[] = {dropout, dropout, 0};
        spec.dropout = rates;
        return Net<double>(spec);
    }

    const Net<double> cpu, cuda;
};

// X and y in both memories.
struct Data {
    explicit Data(const Example& e) : example(e), X(e.X), y(e.y), host(data_of(e.x(), e.classes())) {
        distant = data_of(on_device(rows(X.data(), e.rows, e.widths.front())), on_device(labels(y.data(), e.rows)));
    }
    const Example& example;
    const Distant<double> X;
    const Distant<std::int32_t> y;
    fastbp_data host, distant;
};

void single_calls() {
    const Example e(53);
    const Nets nets(e, 0.1);
    const Data data(e);
    const std::size_t P = e.params.size(), outputs = std::size_t(e.rows * e.widths.back());
    const Distant<double> params(e.params), grad(P), out(outputs), kept(std::size_t(nets.cuda.kept_size(e.rows)));
    std::vector<double> expected_grad(P), expected_out(outputs);
    const double expected = nets.cpu.value_and_grad(e.params.data(), data.host, expected_grad.data());
    for (const fastbp_data& given : {data.host, data.distant}) {
        const double value = nets.cuda.value_and_grad(params.data(), given, grad.data());
        expect(std::abs(value - expected) <= tolerance, "the value");
        expect_close(grad.read(), expected_grad, "the gradient");
        std::vector<double> expected_hvp(P);
        const Distant<double> hvp(P);
        nets.cpu.hvp(e.params.data(), data.host, expected_grad.data(), expected_hvp.data());
        nets.cuda.hvp(params.data(), given, grad.data(), hvp.data());
        expect_close(hvp.read(), expected_hvp, "the Hessian product");
        std::vector<double> expected_kept(std::size_t(nets.cpu.kept_size(e.rows)));
        nets.cpu.forward(e.params.data(), e.x(), expected_out.data(), expected_kept.data());
        nets.cuda.forward(params.data(), given.x, out.data(), kept.data());
        expect_close(out.read(), expected_out, "the output");
        std::vector<double> expected_pulled(P);
        nets.cpu.pull_back(e.params.data(), e.x(), expected_kept.data(),
                           rows(expected_out.data(), e.rows, e.widths.back()), expected_pulled.data());
        nets.cuda.pull_back(params.data(), given.x, kept.data(), on_device(rows(out.data(), e.rows, e.widths.back())),
                            grad.data());
        expect_close(grad.read(), expected_pulled, "the pullback");
    }
}

struct Trained {
    std::vector<double> params;
    double loss_sum = 0, weight_sum = 0;
    std::int64_t step = 0, steps_done = 0;
    fastbp_status status = FASTBP_OK;
};

// Two epochs over a fixed order, the second of which goes on.
Trained train(const Net<double>& net, bool distant, const Example& e, const fastbp_data& given,
              const fastbp_step_rule& rule, double max_grad_norm, std::vector<double> weights) {
    std::vector<std::int64_t> order;
    for (std::int64_t i = 0; i < e.rows; ++i) order.push_back((i * 7) % e.rows);
    fastbp_data data = given;
    data.order = order.data();
    data.count = e.rows;
    if (!weights.empty()) data.sample_weight = labels(weights.data(), e.rows);
    std::vector<double> host = e.params;
    const Distant<double> params(e.params);
    std::vector<std::vector<double>> moments(3, std::vector<double>(host.size(), 0.01));
    const Distant<double> m0(moments[0]), m1(moments[1]), m2(moments[2]);
    void* lists[2][3] = {{moments[0].data(), moments[1].data(), moments[2].data()}, {m0.data(), m1.data(), m2.data()}};
    const std::vector<double> lr(100, 0.05);
    Trained found;
    fastbp_epoch epoch = epoch_for(rule, lists[distant ? 1 : 0], 8, lr.data());
    epoch.max_grad_norm = max_grad_norm;
    epoch.seed = 3;
    for (int k = 0; k < 2 && found.status == FASTBP_OK; ++k) {
        epoch.loss_sum = epoch.weight_sum = 0;
        found.status = fastbp_run_epoch(net.handle(), distant ? params.data() : host.data(), &data, &epoch);
    }
    found.loss_sum = epoch.loss_sum;
    found.weight_sum = epoch.weight_sum;
    found.step = epoch.step;
    found.steps_done = epoch.steps_done;
    found.params = distant ? params.read() : host;
    return found;
}

void expect_same(const Trained& found, const Trained& expected, const std::string& what) {
    expect(found.status == expected.status, what + ": the status");
    expect(found.step == expected.step && found.steps_done == expected.steps_done, what + ": the steps");
    expect_close({found.loss_sum, found.weight_sum}, {expected.loss_sum, expected.weight_sum}, what + ": the sums");
    expect_close(found.params, expected.params, what + ": the parameters");
}

fastbp_step_rule with_defaults(fastbp_optimizer kind) {
    fastbp_step_rule rule = rule_of(kind);
    rule.eps = 1e-8;
    rule.alpha = 0.99;
    rule.momentum = kind == FASTBP_SGD ? 0.9 : 0;
    return rule;
}

void training() {
    const Example e(53);
    const Nets nets(e, 0.01, 0.3);
    const Data data(e);
    std::vector<double> weights(std::size_t(e.rows), 1.0);
    for (std::size_t i = 0; i < 24; ++i)
        weights[(i * 7) % weights.size()] = i < 8 ? 0 : 2;  // the first mini-batch: none
    for (const fastbp_step_rule& rule :
         {sgd(), with_defaults(FASTBP_SGD), adam(), with_defaults(FASTBP_RMSPROP), with_defaults(FASTBP_ADAGRAD)})
        for (const double clip : {0.0, 0.05})
            for (const auto& c : {std::vector<double>(), weights}) {
                const Trained expected = train(nets.cpu, false, e, data.host, rule, clip, c);
                for (const fastbp_data& given : {data.host, data.distant})
                    expect_same(train(nets.cuda, true, e, given, rule, clip, c), expected,
                                "rule " + std::to_string(rule.kind) + ", clip " + std::to_string(clip));
            }
}

// Training ends before the step whose loss is not finite, and says so.
void a_loss_that_is_not_finite() {
    Example e(53);
    e.X[30 * 13] = std::numeric_limits<double>::quiet_NaN();
    const Nets nets(e);
    const Data data(e);
    const Trained expected = train(nets.cpu, false, e, data.host, adam(), 0, {});
    expect(expected.status == FASTBP_FLOATING_POINT_ERROR && expected.steps_done > 0, "the case");
    expect_same(train(nets.cuda, true, e, data.distant, adam(), 0, {}), expected, "not finite");
}

// Within the memory of each device; on the processor that is the process's.
void copies() {
    std::vector<double> host(40);
    for (std::size_t k = 0; k < host.size(); ++k) host[k] = double(k);
    std::vector<double> expected = host, in_place = host;
    std::copy(host.begin() + 1, host.begin() + 18, expected.begin() + 20);
    const Distant<double> numbers(host), other(host.size());
    const auto bytes = [](double* at) { return reinterpret_cast<char*>(at); };
    for (const bool distant : {false, true}) {
        const char* device = distant ? "cuda" : "cpu";
        double* at = distant ? numbers.data() : in_place.data();
        require(fastbp_copy(device, at + 1, at + 20, 17 * sizeof(double)));
        expect_close(distant ? numbers.read() : in_place, expected, "a copy within an array");
        require(fastbp_copy(device, nullptr, nullptr, 0));
        require(fastbp_copy(device, at, at, 0));
        const auto refused = [&](const void* from, void* to, std::size_t n, const char* text) {
            expect(fastbp_copy(device, from, to, n) == FASTBP_VALUE_ERROR &&
                       std::string(fastbp_last_error()).find(text) != std::string::npos,
                   std::string("a copy is refused: ") + text);
        };
        refused(nullptr, at, 8, "from is NULL");
        refused(at, nullptr, 8, "to is NULL");
        refused(at, at, 8, "overlap");
        refused(at, bytes(at) + 7, 8, "they are 7 bytes apart, expected at least the 8");
        refused(bytes(at) + 7, at, 8, "overlap");
        expect_close(distant ? numbers.read() : in_place, expected, "what is refused changes nothing");
        require(fastbp_copy(device, bytes(at) + 8, bytes(at), 8));
        expect((distant ? numbers.read() : in_place)[0] == 1, "places that touch do not overlap");
    }
    expect(fastbp_copy(nullptr, host.data(), in_place.data(), 8) == FASTBP_VALUE_ERROR, "no device is named");
    require(fastbp_copy("cuda", numbers.data(), other.data(), host.size() * sizeof(double)));
    expect_close(other.read(), numbers.read(), "a copy of an array");
}

void numbers_that_are_loaded() {
    std::vector<float> host{1, 2, 3, 4, 5, 6};
    const std::vector<double> transposed{1, 4, 2, 5, 3, 6};
    const Distant<float> there(host);
    const Distant<double> to(6);
    std::vector<double> here(6);
    fastbp_array from = {};
    from.data = host.data();
    from.type = FASTBP_FLOAT32;
    from.dimensions = 2;
    from.rows = 3;
    from.cols = 2;
    from.row_stride = sizeof(float);
    from.col_stride = 3 * sizeof(float);
    require(fastbp_load("cpu", &from, FASTBP_FLOAT64, here.data()));
    expect_close(here, transposed, "loaded by the processor");
    require(fastbp_load("cuda", &from, FASTBP_FLOAT64, to.data()));
    expect_close(to.read(), transposed, "loaded from the process's memory");
    require(fastbp_upload("cuda", std::vector<double>(6).data(), to.data(), 6 * sizeof(double)));
    from.data = there.data();
    from.on_device = 1;
    require(fastbp_load("cuda", &from, FASTBP_FLOAT64, to.data()));
    expect_close(to.read(), transposed, "loaded from the device's memory");
    expect(fastbp_load("cpu", &from, FASTBP_FLOAT64, here.data()) == FASTBP_VALUE_ERROR, "distant numbers are refused");
    expect(fastbp_load("cuda", &from, FASTBP_INT32, to.data()) == FASTBP_VALUE_ERROR, "integers are not made");
    from.data = reinterpret_cast<char*>(there.data()) + 2;
    expect(fastbp_load("cuda", &from, FASTBP_FLOAT64, to.data()) == FASTBP_VALUE_ERROR &&
               std::string(fastbp_last_error()).find("not aligned") != std::string::npos,
           "numbers that are not aligned are refused");
    from.data = there.data();
    from.row_stride = -4;
    expect(fastbp_load("cuda", &from, FASTBP_FLOAT64, to.data()) == FASTBP_VALUE_ERROR, "a stride below 0 is refused");
}

void refusals() {
    const Example e(5);
    const Nets nets(e);
    const Data data(e);
    std::vector<double> grad(e.params.size());
    fastbp_results results = results_for();
    results.grad = grad.data();
    expect(fastbp_evaluate(nets.cpu.handle(), e.params.data(), &data.distant, &results) == FASTBP_VALUE_ERROR &&
               std::string(fastbp_last_error()).find("X lies on a device") != std::string::npos,
           "data on a device are not for a net on the processor");
    fastbp_net_spec spec = spec_for(FASTBP_FLOAT64);
    spec.device = "cuda:7";
    fastbp_net* net = nullptr;
    spec.layers = 1;
    spec.widths = e.widths.data();
    spec.activations = reinterpret_cast<const std::int32_t*>(e.g.data());
    expect(fastbp_net_create(&spec, &net) == FASTBP_RUNTIME_ERROR, "there is no such GPU");
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::single_calls();
    fastbp::test::training();
    fastbp::test::a_loss_that_is_not_finite();
    fastbp::test::copies();
    fastbp::test::numbers_that_are_loaded();
    fastbp::test::refusals();
    std::puts("nets: as on the processor");
    return 0;
}
