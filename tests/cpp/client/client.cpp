// Computes a gradient through the installed C++ header and checks it by central differences.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fastbp/fastbp.hpp>
#include <vector>

int main() {
    const std::int64_t sizes[] = {4, 6, 3}, n = 5;
    const fastbp_activation g[] = {FASTBP_TANH, FASTBP_SOFTMAX};
    const fastbp::Net<double> net(sizes, g, 2, FASTBP_CROSS_ENTROPY);
    std::vector<double> X, params, grad(std::size_t(net.parameter_count()));
    for (int i = 0; i < n * 4; ++i) X.push_back(std::sin(1.0 + i));
    for (std::size_t i = 0; i < grad.size(); ++i) params.push_back(0.5 * std::cos(2.0 * double(i)));
    const std::int32_t y[] = {0, 2, 1, 1, 0};
    const fastbp_array x = fastbp::rows(X.data(), n, 4), labels = fastbp::labels(y, n);
    const double value = net.value_and_grad(params.data(), x, labels, grad.data());
    double worst = 0;
    for (std::size_t i = 0; i < grad.size(); ++i) {
        const double h = 6e-6, p = params[i];
        params[i] = p + h;
        const double up = net.value(params.data(), x, labels);
        params[i] = p - h;
        const double down = net.value(params.data(), x, labels);
        params[i] = p;
        const double difference = std::abs((up - down) / (2 * h) - grad[i]);
        if (!(difference <= worst)) worst = difference;  // keeps a NaN, unlike std::max
        if (std::isnan(worst)) break;
    }
    std::printf("value %.6f, worst difference %.1e\n", value, worst);
    try {
        net.value(params.data(), fastbp::rows(X.data(), n, 3), labels);
        return 2;
    } catch (const fastbp::StatusError& error) {
        if (error.status() != FASTBP_VALUE_ERROR) return 3;
        std::printf("refused: %s\n", error.what());
    }
    try {
        fastbp_net_spec spec = fastbp::spec_for(FASTBP_FLOAT64);
        fastbp::Net<float> narrow(spec);
        return 4;
    } catch (const fastbp::StatusError& error) {
        if (error.status() != FASTBP_TYPE_ERROR) return 5;
        std::printf("refused: %s\n", error.what());
    }
    return worst < 1e-8 ? 0 : 1;
}
