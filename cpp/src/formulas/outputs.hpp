// The output layer's x = g(s) and its derivatives, as losses need them: one element at a time, from the summed input s,
// in float64.
//
// A loss and its derivatives need differences that are small where g saturates: 1 - x, x - y, x + a. A rounded x has
// lost their digits, so they are computed from s. At s = -inf and +inf every quantity has its limit, except sine's,
// which has none. NaN stays NaN.
#pragma once

#include "formulas/activations.hpp"

namespace fastbp::formulas {

// x = limit + distance. Where g saturates, `limit` is the value that x approaches; elsewhere it is 0.
struct Output {
    double limit, distance;
};

FASTBP_FORMULA double value_of(Output x) { return x.limit + x.distance; }

// x - y. It keeps the digits of the distance if y is the limit.
FASTBP_FORMULA double residual_of(Output x, double y) { return x.distance - (y - x.limit); }

template <Activation kind>
FASTBP_FORMULA Output output(double s, [[maybe_unused]] double a) {
    if constexpr (kind == Activation::logistic) {
        const double e = exponential(-magnitude(s)), tail = e / (1 + e);
        return s > 0 ? Output{1, -tail} : Output{0, tail};
    } else if constexpr (kind == Activation::tanh) {
        const double x = hyperbolic_tangent(s), e = exponential(-2 * magnitude(s));
        return magnitude(x) > 0.5 ? Output{with_sign(1.0, s), with_sign(2 * e / (1 + e), -s)} : Output{0, x};
    } else if constexpr (kind == Activation::elu) {
        return s < -1 ? Output{-a, a * exponential(s)} : Output{0, g<kind>(s, a)};
    } else {
        return {0, g<kind>(s, a)};
    }
}

// g'(s), given x.
template <Activation kind>
FASTBP_FORMULA double output_prime(double s, double x, double a) {
    if constexpr (kind == Activation::logistic) {
        const double e = exponential(-magnitude(s));
        return e / ((1 + e) * (1 + e));
    } else if constexpr (kind == Activation::tanh) {
        const double e = exponential(-2 * magnitude(s));
        return 4 * e / ((1 + e) * (1 + e));
    } else {
        return g_prime<kind>(s, x, a);
    }
}

// g''(s), given x and g'(s).
template <Activation kind>
FASTBP_FORMULA double output_second(double s, double x, [[maybe_unused]] double prime, double a) {
    if constexpr (kind == Activation::logistic) {
        return -prime * hyperbolic_tangent(0.5 * s);  // 1 - 2 x = -tanh(s / 2)
    } else if constexpr (kind == Activation::tanh) {
        return -2 * x * prime;
    } else {
        return g_second<kind>(s, x, a);
    }
}

// ln g(s) and the numerators of its first two derivatives with respect to s, for x > 0, with a common denominator. They
// are finite even if x underflows. A loss multiplies a numerator by y before it divides by a small x, which avoids
// needless overflow.
struct OutputLogarithm {
    double value, prime, second, denominator;
};

// ln ln(1 + t) for t = exp(s) <= 1/2, using ln(1 + t) = t - t^2 phi(t) to avoid cancellation.
FASTBP_FORMULA OutputLogarithm softplus_logarithm(double s) {
    const double t = exponential(s), phi = 0.5 - t * logarithm_tail(t);
    const double u = -t * phi, ratio = 1 + u;  // ln(1 + t) / t
    const double slope = 1 / ((1 + t) * ratio);
    return {s + (u + (u * u) * (u * logarithm_tail(u) - 0.5)), slope, -slope * slope * (t * phi), 1};
}

template <Activation kind>
FASTBP_FORMULA OutputLogarithm output_logarithm(double s, double x, double prime, double second) {
    if constexpr (kind == Activation::exp) {
        return {s, 1, 0, 1};
    } else if constexpr (kind == Activation::logistic) {
        return {-softplus(-s), logistic(-s), -prime, 1};
    } else {
        const OutputLogarithm direct{::log(x), prime, second - prime * (prime / x), x};
        if constexpr (kind == Activation::softplus) return s < -0.75 ? softplus_logarithm(s) : direct;
        return direct;
    }
}

}  // namespace fastbp::formulas
