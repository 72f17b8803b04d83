// A trainer in C++: its own loop over mini-batches of rows in an order of its own, SGD with momentum, and a
// Hessian-vector product where it ended. `trainer_cpp double` computes in double, else in float.
//
// All arrays are made before the first call. Printed in hexadecimal, so that not a bit is lost.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fastbp/fastbp.hpp>
#include <vector>

namespace {

constexpr std::int64_t rows = 256, inputs = 2, hidden = 16, classes = 2, batch = 32;
constexpr int epochs = 20;

// The i-th of a fixed row of numbers from -1 to below 1, exact in every type.
template <class Real>
Real number(std::uint32_t i) {
    i = (i + 1) * 2654435761u;
    i ^= i >> 15;
    i *= 2246822519u;
    return Real(i >> 22) / 512 - 1;
}

template <class Real>
fastbp::Net<Real> make_net() {
    const std::int64_t widths[] = {inputs, hidden, classes};
    const std::int32_t activations[] = {FASTBP_TANH, FASTBP_SOFTMAX};
    fastbp_net_spec spec = fastbp::spec_for(fastbp::TypeOf<Real>::value);
    spec.layers = 2;
    spec.widths = widths;
    spec.activations = activations;
    spec.loss = FASTBP_CROSS_ENTROPY;
    spec.deterministic = 1;  // the same bits for any number of threads
    return fastbp::Net<Real>(spec);
}

template <class Real>
class Trainer {
  public:
    // Two classes that no straight line parts, the parameters to start from, and the order of the rows.
    Trainer() : net_(make_net<Real>()) {
        for (std::uint32_t i = 0; i < X_.size(); ++i) X_[i] = number<Real>(i);
        for (std::size_t n = 0; n < y_.size(); ++n) y_[n] = X_[n * inputs] * X_[n * inputs + 1] > 0;
        for (std::uint32_t p = 0; p < params_.size(); ++p) params_[p] = number<Real>(p + rows * inputs) / 2;
        for (std::size_t n = 0; n < order_.size(); ++n) order_[n] = std::int64_t(n) * 37 % rows;
    }

    void run() {
        net_.value_and_grad(params_.data(), all_, grad_.data());
        print("first_grad", grad_);
        for (int k = 0; k < epochs; ++k) std::printf("loss %a\n", epoch());
        std::printf("value %a\n", net_.value_and_grad(params_.data(), all_, grad_.data()));
        print("grad", grad_);
        net_.hvp(params_.data(), all_, grad_.data(), product_.data());
        print("hvp", product_);
        print("params", params_);
    }

  private:
    // The mean of the mini-batches' values as they were met.
    double epoch() {
        void* const moments[] = {velocity_.data()};
        fastbp_data part = all_;
        part.count = batch;
        double sum = 0;
        for (std::int64_t first = 0; first < rows; first += batch) {
            part.order = order_.data() + first;
            sum += net_.value_and_grad(params_.data(), part, grad_.data());
            fastbp::update(fastbp::sgd(0.9), net_.parameter_count(), params_.data(), grad_.data(), moments, 0.1,
                           ++step_);
        }
        return sum / (rows / batch);
    }

    static void print(const char* name, const std::vector<Real>& numbers) {
        std::printf("%s", name);
        for (const Real number : numbers) std::printf(" %a", double(number));
        std::printf("\n");
    }

    using Numbers = std::vector<Real>;
    fastbp::Net<Real> net_;
    Numbers X_ = Numbers(rows * inputs);
    std::vector<std::int32_t> y_ = std::vector<std::int32_t>(rows);
    std::vector<std::int64_t> order_ = std::vector<std::int64_t>(rows);
    Numbers params_ = Numbers(std::size_t(net_.parameter_count()));
    Numbers grad_ = params_, velocity_ = params_, product_ = params_;
    fastbp_data all_ = fastbp::data_of(fastbp::rows(X_.data(), rows, inputs), fastbp::labels(y_.data(), rows));
    std::int64_t step_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
    try {
        if (count > 1 && std::strcmp(arguments[1], "double") == 0)
            Trainer<double>().run();
        else
            Trainer<float>().run();
    } catch (const fastbp::StatusError& error) {
        std::fprintf(stderr, "fastbp: status %d: %s\n", error.status(), error.what());
        return 1;
    }
    return 0;
}
