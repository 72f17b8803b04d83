// Every function of fastbp.hpp: derivatives against central differences, an epoch against its steps one by one. Three
// rounds, of which the second and third allocate nothing.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fastbp/fastbp.hpp>
#include <vector>

extern "C" long allocations_so_far();

namespace {

using Numbers = std::vector<double>;
constexpr std::int64_t n = 12, inputs = 3, hidden = 5, outputs = 2, batch = 4;
constexpr double h = 1e-5;
bool failed = false;

void expect(bool right, const char* what) {
    if (right) return;
    std::printf("%s is wrong\n", what);
    failed = true;
}

void expect_near(const Numbers& found, const Numbers& expected, double most, const char* what) {
    bool near = found.size() == expected.size();
    for (std::size_t i = 0; near && i < found.size(); ++i) near = std::abs(found[i] - expected[i]) <= most;
    expect(near, what);
}

// numbers + along * direction
void move(const Numbers& numbers, double along, const Numbers& direction, Numbers& to) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = numbers[i] + along * direction[i];
}

void difference(const Numbers& above, const Numbers& below, Numbers& to) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] = (above[i] - below[i]) / (2 * h);
}

Numbers waves(std::int64_t count, double pace) {
    Numbers numbers;
    for (std::int64_t i = 0; i < count; ++i) numbers.push_back(std::sin(pace * double(i + 1)));
    return numbers;
}

class Calls {
  public:
    explicit Calls(fastbp::Net<double> net) : net_(std::move(net)) {}

    void round() {
        first_order();
        second_order();
        training();
    }

  private:
    // The gradient of the net's loss; and from a cotangent of the same loss, as a caller would compute it.
    void first_order() {
        const double value = net_.value_and_grad(p_.data(), x_, target_, grad_.data());
        for (std::size_t i = 0; i < p_.size(); ++i) {
            moved_ = p_;
            moved_[i] = p_[i] + h;
            const double above = net_.value(moved_.data(), data_);
            moved_[i] = p_[i] - h;
            expected_[i] = (above - net_.value(moved_.data(), x_, target_)) / (2 * h);
        }
        expect_near(grad_, expected_, 1e-9, "value_and_grad");
        net_.forward(p_.data(), x_, out_.data(), kept_.data());
        double sum = 0;
        for (std::size_t i = 0; i < out_.size(); ++i) {
            cotangent_[i] = (out_[i] - y_[i]) / n;
            sum += 0.5 * (out_[i] - y_[i]) * cotangent_[i];
        }
        expect(std::abs(sum - value) <= 1e-14, "forward, or value");
        net_.pull_back(p_.data(), x_, kept_.data(), fastbp::rows(cotangent_.data(), n, outputs), moved_.data(),
                       input_grad_.data());
        expect_near(moved_, grad_, 1e-15, "pull_back");
        fastbp_results results = fastbp::results_for();
        results.input_grad = same_.data();
        net_.evaluate(p_.data(), data_, results);
        expect_near(same_, input_grad_, 1e-15, "input_grad of evaluate");
        std::fill(moved_.begin(), moved_.end(), 0);
        double* const of_layer_2 = moved_.data() + (inputs + 1) * hidden;
        void* const weights[] = {moved_.data(), of_layer_2};
        void* const biases[] = {moved_.data() + inputs * hidden, of_layer_2 + hidden * outputs};
        results.weight_grads = weights;
        results.bias_grads = biases;
        net_.evaluate(p_.data(), data_, results);
        expect_near(moved_, grad_, 1e-15, "weight_grads and bias_grads of evaluate");
    }

    void second_order() {
        move(X_, h, u_, X_moved_), move(p_, h, v_, moved_);
        net_.forward(moved_.data(), x_moved_, above_.data());
        net_.value_and_grad(moved_.data(), data_, grad_.data());
        move(X_, -h, u_, X_moved_), move(p_, -h, v_, moved_);
        net_.forward(moved_.data(), x_moved_, below_.data());
        net_.value_and_grad(moved_.data(), data_, product_.data());
        difference(above_, below_, below_);
        difference(grad_, product_, expected_);
        net_.jvp(p_.data(), x_, v_.data(), fastbp::rows(u_.data(), n, inputs), out_.data());
        expect_near(out_, below_, 1e-8, "jvp");
        net_.hvp(p_.data(), data_, v_.data(), product_.data());
        expect_near(product_, expected_, 1e-8, "hvp");
    }

    void training() {
        const fastbp_step_rule rule = fastbp::adam();
        const double lr[] = {0.1, 0.05, 0.02};
        void* const moments[] = {m_.data(), q_.data()};
        fastbp_epoch epoch = fastbp::epoch_for(rule, moments, batch, lr);
        start();
        net_.run_epoch(moved_.data(), data_, epoch);
        expected_ = moved_;
        start();
        for (std::int64_t step = 0; step < n / batch; ++step) {
            const auto part = [&](Numbers& of, std::int64_t columns) {
                return fastbp::rows(of.data() + step * batch * columns, batch, columns);
            };
            net_.value_and_grad(moved_.data(), part(X_, inputs), part(y_, outputs), grad_.data());
            fastbp::update(rule, net_.parameter_count(), moved_.data(), grad_.data(), moments, lr[step], step + 1);
        }
        expect_near(moved_, expected_, 0, "run_epoch");
        expect(epoch.step == n / batch && fastbp::moment_count(rule) == 2, "the count of steps or moments");
    }

    void start() {
        moved_ = p_;
        std::fill(m_.begin(), m_.end(), 0);
        std::fill(q_.begin(), q_.end(), 0);
    }

    const fastbp::Net<double> net_;
    const std::int64_t count_ = net_.parameter_count();
    Numbers X_ = waves(n * inputs, 1), y_ = waves(n * outputs, 2), u_ = waves(n * inputs, 3);
    Numbers p_ = waves(count_, 4), v_ = waves(count_, 5), kept_ = waves(net_.kept_size(n), 6);
    Numbers grad_ = p_, expected_ = p_, moved_ = p_, product_ = p_, m_ = p_, q_ = p_;
    Numbers out_ = y_, above_ = y_, below_ = y_, cotangent_ = y_, X_moved_ = X_, input_grad_ = X_, same_ = X_;
    const fastbp_array x_ = fastbp::rows(X_.data(), n, inputs), target_ = fastbp::rows(y_.data(), n, outputs);
    const fastbp_array x_moved_ = fastbp::rows(X_moved_.data(), n, inputs);
    const fastbp_data data_ = fastbp::data_of(x_, target_);
};

}  // namespace

int main() {
    const std::int64_t widths[] = {inputs, hidden, outputs};
    const fastbp_activation activations[] = {FASTBP_GELU, FASTBP_TANH};
    Calls calls(fastbp::Net<double>(widths, activations, 2, FASTBP_SQUARED_ERROR));
    calls.round();
    const long before = allocations_so_far();
    calls.round();
    calls.round();
    std::printf("%ld allocations, then %ld\n", before, allocations_so_far() - before);
    return failed ? 1 : 0;
}
