// The losses of one output, e(y, x), with their first two derivatives by x; definitions in NOTATION.md. What is
// computed from the summed input instead (cross entropy, and poisson behind exp) stands below under its own name.
#pragma once

#include <cmath>

#include "formulas/elementary.hpp"
#include "seam/enums.hpp"

namespace fastbp::formulas {

// y ln(y / x), 0 at y = 0.
FASTBP_FORMULA double y_log_ratio(double y, double x) { return y == 0 ? 0.0 : y * ::log(y / x); }

// e of one output in float64, whatever the network's type. p: huber's delta or pinball's quantile.
template <Loss kind, class Real>
FASTBP_FORMULA double loss_value(Real y, Real x, Real p) {
    const double r = double(x) - double(y);
    const double magnitude = r < 0 ? -r : r;
    if constexpr (kind == Loss::squared_error) return 0.5 * r * r;
    if constexpr (kind == Loss::absolute_error) return magnitude;
    if constexpr (kind == Loss::huber) {
        const double d = double(p);
        return magnitude <= d ? 0.5 * r * r : d * (magnitude - 0.5 * d);
    }
    if constexpr (kind == Loss::pinball) return r > 0 ? (1 - double(p)) * r : -double(p) * r;
    if constexpr (kind == Loss::poisson) return r + y_log_ratio(double(y), double(x));
}

// de/dx. At the kinks of absolute_error and pinball it is 0; nan stays nan.
template <Loss kind, class Real>
FASTBP_FORMULA Real loss_prime(Real y, Real x, Real p) {
    const Real r = x - y;
    if constexpr (kind == Loss::squared_error) return r;
    if constexpr (kind == Loss::absolute_error) return r > 0 ? Real(1) : (r < 0 ? Real(-1) : r);
    if constexpr (kind == Loss::huber) return r > p ? p : (r < -p ? -p : r);
    if constexpr (kind == Loss::pinball) return r > 0 ? 1 - p : (r < 0 ? -p : r);
    if constexpr (kind == Loss::poisson) return r / x;
}

// d2e/dx2; at the kinks that of one side: 0, and 1 for huber.
template <Loss kind, class Real>
FASTBP_FORMULA Real loss_second(Real y, Real x, Real p) {
    const Real r = x - y;
    if constexpr (kind == Loss::squared_error) return Real(1);
    if constexpr (kind == Loss::absolute_error || kind == Loss::pinball) return Real(0);
    if constexpr (kind == Loss::huber) return r > p || r < -p ? Real(0) : Real(1);
    if constexpr (kind == Loss::poisson) return y / (x * x);
}

// Cross entropy behind logistic, from s: -(y ln x + (1 - y) ln(1 - x)) = max(s, 0) - y s + ln(1 + exp(-|s|)),
// with the first two terms joined so that a right and certain answer costs exactly what the last term says.
FASTBP_FORMULA double logistic_cross_entropy(double y, double s) {
    const double linear = s > 0 ? (1 - y) * s : (y == 0 ? 0.0 : -y * s);
    return linear + log_one_plus(exponential(s > 0 ? -s : s));
}

// Poisson behind exp, from s = ln x: x - y + y ln y - y s.
FASTBP_FORMULA double poisson_from_s(double y, double s, double x) { return y == 0 ? x : x - y + y * (::log(y) - s); }

}  // namespace fastbp::formulas
