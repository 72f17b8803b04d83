// The losses of one output and their first two derivatives; definitions in NOTATION.md. All of them are computed in
// float64. e is reported in float64, and derivatives are rounded once, when they are stored as delta.
#pragma once

#include <cmath>

#include "formulas/outputs.hpp"

namespace fastbp::formulas {

// ---- functions of the residual r = x - y. p: huber's delta or pinball's quantile ------------------------------------

template <Loss kind>
FASTBP_FORMULA double residual_loss(double r, [[maybe_unused]] double p) {
    if constexpr (kind == Loss::squared_error) return 0.5 * r * r;
    if constexpr (kind == Loss::absolute_error) return magnitude(r);
    if constexpr (kind == Loss::huber) return magnitude(r) <= p ? 0.5 * r * r : p * (magnitude(r) - 0.5 * p);
    if constexpr (kind == Loss::pinball) return r > 0 ? (1 - p) * r : -p * r;
}

// de/dr. At the kinks of absolute_error and pinball it is 0; NaN stays NaN.
template <Loss kind>
FASTBP_FORMULA double residual_prime(double r, [[maybe_unused]] double p) {
    if constexpr (kind == Loss::squared_error) return r;
    if constexpr (kind == Loss::absolute_error) return r > 0 ? 1.0 : (r < 0 ? -1.0 : r);
    if constexpr (kind == Loss::huber) return r > p ? p : (r < -p ? -p : r);
    if constexpr (kind == Loss::pinball) return r > 0 ? 1 - p : (r < 0 ? -p : r);
}

// d2e/dr2; at the kinks that of one side: 0, and 1 for huber.
template <Loss kind>
FASTBP_FORMULA double residual_second([[maybe_unused]] double r, [[maybe_unused]] double p) {
    if constexpr (kind == Loss::squared_error) return 1;
    if constexpr (kind == Loss::absolute_error || kind == Loss::pinball) return 0;
    if constexpr (kind == Loss::huber) return magnitude(r) > p ? 0.0 : 1.0;
}

// ---- cross entropy behind logistic ----------------------------------------------------------------------------------

// From s: -(y ln x + (1 - y) ln(1 - x)) = max(s, 0) - y s + ln(1 + exp(-|s|)). The first two terms are combined, so
// that a confident right prediction has exactly the loss of the last term.
FASTBP_FORMULA double logistic_cross_entropy(double y, double s) {
    const double factor = s > 0 ? 1 - y : -y;
    const double linear = factor == 0 ? 0.0 : factor * s;  // 0 also where s is infinite
    return linear + log_one_plus(exponential(-magnitude(s)));
}

// ---- poisson --------------------------------------------------------------------------------------------------------

// exp(t) - 1 - t for abs(t) < 1, by its series near 0. It is never negative.
FASTBP_FORMULA double exponential_minus_line(double t) {
    const double series = horner(t, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320);
    return magnitude(t) < 0.1 ? t * t * series : exponential_minus_one(t) - t;
}

// x - y + y ln(y / x) = y (exp(t) - 1 - t) with t = ln(x / y). Infinite for a rate x < 0, and for x = 0 if y > 0.
FASTBP_FORMULA double poisson_loss(double y, double x, double log_x) {
    const double t = log_x - ::log(y);
    const double far = x < __builtin_inf() ? (x - y) - y * t : x;
    const double e = y == 0 ? x : (magnitude(t) < 1 ? y * exponential_minus_line(t) : far);
    return x < 0 ? __builtin_inf() : e;
}

// ---- one output behind an elementwise g -----------------------------------------------------------------------------

// The quantities of one output that a loss reads. Only poisson reads `log`. Only curvatures read `second` and
// log.second.
struct OutputPoint {
    double s, x, residual, prime, second;
    OutputLogarithm log;
};

// e. Its derivatives with respect to s follow; those of poisson are NaN for a rate x < 0.
template <Loss kind>
FASTBP_FORMULA double output_loss(const OutputPoint& o, double y, double p) {
    if constexpr (kind == Loss::cross_entropy) {
        return logistic_cross_entropy(y, o.s);
    } else if constexpr (kind == Loss::poisson) {
        return poisson_loss(y, o.x, o.log.value);
    } else {
        return residual_loss<kind>(o.residual, p);
    }
}

// The same for an x that is stored in a type whose largest number is `largest`. Where x is infinite in that type, the
// loss is infinite too.
template <Loss kind>
FASTBP_FORMULA double stored_output_loss(const OutputPoint& o, double y, double p, double largest) {
    const double e = output_loss<kind>(o, y, p);
    return magnitude(o.x) > largest ? __builtin_inf() : e;
}

// de/ds. Cross entropy: g' cancels. Poisson: g' - y (ln g)' = (x - y) (ln g)', in which the residual is exact.
template <Loss kind>
FASTBP_FORMULA double output_slope(const OutputPoint& o, double y, double p) {
    if constexpr (kind == Loss::cross_entropy) {
        return o.residual;
    } else if constexpr (kind == Loss::poisson) {
        const double slope = y == 0 ? o.prime : o.residual * o.log.prime / o.log.denominator;
        return o.x < 0 ? __builtin_nan("") : slope;
    } else {
        return residual_prime<kind>(o.residual, p) * o.prime;
    }
}

// d2e/ds2. Poisson: g'' - y (ln g)'' = x (ln g)'^2 + (x - y) (ln g)''. Nothing cancels in the first form if y is small,
// nor in the second one if g saturates near y.
template <Loss kind>
FASTBP_FORMULA double output_curvature(const OutputPoint& o, double y, double p) {
    if constexpr (kind == Loss::cross_entropy) {
        return o.prime;
    } else if constexpr (kind == Loss::poisson) {
        const double slope = o.log.prime / o.log.denominator;
        const double direct = o.second - y * o.log.second / o.log.denominator;
        const double relative = o.x * slope * slope + o.residual * o.log.second / o.log.denominator;
        const double curvature = y == 0 ? o.second : (2 * y < o.x ? direct : relative);
        return o.x < 0 ? __builtin_nan("") : curvature;
    } else {
        const double linear = residual_second<kind>(o.residual, p) * o.prime * o.prime;
        return linear + residual_prime<kind>(o.residual, p) * o.second;
    }
}

// The Gauss-Newton part of d2e/ds2, (d2e/dx2) g'^2; for poisson y (g' / x)^2 = y (ln g)'^2.
template <Loss kind>
FASTBP_FORMULA double output_gauss_newton(const OutputPoint& o, double y, double p) {
    if constexpr (kind == Loss::cross_entropy) {
        return o.prime;
    } else if constexpr (kind == Loss::poisson) {
        const double slope = o.log.prime / o.log.denominator;
        const double curvature = y == 0 ? 0.0 : y * o.log.prime / o.log.denominator * slope;
        return o.x < 0 ? __builtin_nan("") : curvature;
    } else {
        return residual_second<kind>(o.residual, p) * o.prime * o.prime;
    }
}

}  // namespace fastbp::formulas
