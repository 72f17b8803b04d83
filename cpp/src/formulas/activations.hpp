// The activations of NOTATION.md, (2), and their first two derivatives, one element at a time.
//
// g keeps a NaN. g' and g'' take the argument NOTATION.md names: x = g(s) for most, s where derivative_needs_s(kind);
// the other one is ignored, so that s and x may share their memory. g' and g'' of logistic and tanh lose digits if the
// rounded x is near 1: their absolute error is that of x. At s = -inf and +inf every derivative is its limit, except
// that sine has none and that the second derivative of exp at +inf is inf.
#pragma once

#include "formulas/elementary.hpp"
#include "seam/enums.hpp"

namespace fastbp::formulas {

// Beyond this every derivative of gelu and silu equals its limit in float and double alike; the clamp
// keeps products such as s exp(-s^2 / 2) from becoming inf * 0.
template <class Real>
FASTBP_FORMULA Real within_reach(Real s) {
    return at_most(at_least(s, static_cast<Real>(-1000)), static_cast<Real>(1000));
}

// x = g(s); a is the activation's parameter.
template <Activation kind, class Real>
FASTBP_FORMULA Real g(Real s, [[maybe_unused]] Real a) {
    static_assert(!couples_columns(kind), "one element of x depends on a whole row of s");
    if constexpr (kind == Activation::identity) {
        return s;
    } else if constexpr (kind == Activation::logistic) {
        return logistic(s);
    } else if constexpr (kind == Activation::tanh) {
        return hyperbolic_tangent(s);
    } else if constexpr (kind == Activation::relu) {
        return s < 0 ? static_cast<Real>(0) : s;
    } else if constexpr (kind == Activation::leaky_relu) {
        return s < 0 ? a * s : s;
    } else if constexpr (kind == Activation::elu) {
        return s > 0 ? s : a * exponential_minus_one(s);
    } else if constexpr (kind == Activation::gelu) {
        return gaussian_linear_unit(s);
    } else if constexpr (kind == Activation::silu) {
        // Only the lower bound is needed: logistic is 0 there, and -inf * 0 would be NaN. If logistic is subnormal, x
        // has an error of s times the smallest number, which does not matter to a gradient.
        return at_least(s, static_cast<Real>(-1000)) * logistic(s);
    } else if constexpr (kind == Activation::softplus) {
        return softplus(s);
    } else if constexpr (kind == Activation::sine) {
        return sine(s);
    } else {
        static_assert(kind == Activation::exp);
        return exponential(s);
    }
}

// g'(s), from x = g(s) unless derivative_needs_s(kind).
template <Activation kind, class Real>
FASTBP_FORMULA Real g_prime([[maybe_unused]] Real s, [[maybe_unused]] Real x, [[maybe_unused]] Real a) {
    static_assert(!couples_columns(kind), "the derivative is a Jacobian");
    const Real zero = 0, one = 1;
    if constexpr (kind == Activation::identity) {
        return one;
    } else if constexpr (kind == Activation::logistic) {
        return x * (1 - x);
    } else if constexpr (kind == Activation::tanh) {
        return 1 - x * x;
    } else if constexpr (kind == Activation::relu) {
        return x > 0 ? one : zero;
    } else if constexpr (kind == Activation::leaky_relu) {
        return x > 0 ? one : a;
    } else if constexpr (kind == Activation::elu) {
        return s > 0 ? one : a * exponential(s);  // x + a has lost its digits
    } else if constexpr (kind == Activation::gelu) {
        const Real t = within_reach(s);
        return normal_cdf(t) + t * normal_density(t);
    } else if constexpr (kind == Activation::silu) {
        const Real t = within_reach(s);
        return logistic(t) * (1 + t * logistic(-t));
    } else if constexpr (kind == Activation::softplus) {
        return -exponential_minus_one(-x);
    } else if constexpr (kind == Activation::sine) {
        return cosine(s);
    } else {
        static_assert(kind == Activation::exp);
        return x;
    }
}

// g''(s), by the same rule; 0 at the kinks of relu and leaky_relu.
template <Activation kind, class Real>
FASTBP_FORMULA Real g_second([[maybe_unused]] Real s, [[maybe_unused]] Real x, [[maybe_unused]] Real a) {
    static_assert(!couples_columns(kind), "the derivative is a Jacobian");
    const Real zero = 0;
    if constexpr (kind == Activation::identity || kind == Activation::relu || kind == Activation::leaky_relu) {
        return zero;
    } else if constexpr (kind == Activation::logistic) {
        return x * (1 - x) * (1 - 2 * x);
    } else if constexpr (kind == Activation::tanh) {
        return -2 * x * (1 - x * x);
    } else if constexpr (kind == Activation::elu) {
        return s > 0 ? zero : a * exponential(s);
    } else if constexpr (kind == Activation::gelu) {
        const Real t = within_reach(s);
        return normal_density(t) * (2 - t * t);
    } else if constexpr (kind == Activation::silu) {
        const Real t = within_reach(s);
        const Real p = logistic(t), q = logistic(-t);
        return p * q * (2 + t * (q - p));
    } else if constexpr (kind == Activation::softplus) {
        return -exponential_minus_one(-x) * exponential(-x);  // logistic(s) and logistic(-s)
    } else if constexpr (kind == Activation::sine) {
        return -sine(s);
    } else {
        static_assert(kind == Activation::exp);
        return x;
    }
}

}  // namespace fastbp::formulas
