// Softmax, and the losses behind it, for one output of a row. The loops and the kernels sum over the rows.
//
// With a_j = c x_j de/dx_j, which is finite even if x_j underflows, (3) is delta_j = a_j (1 - x_j) - x_j (sum of the
// other a). For the largest x_j, 1 - x_j is computed as the sum of the other x, and the sum of the other a never
// contains a_j. So nothing cancels.
#pragma once

#include "formulas/dispatch.hpp"
#include "formulas/losses.hpp"
#include "seam/views.hpp"

namespace fastbp::formulas {

// ---- x = softmax(s) ------------------------------------------------------------------------------------------------

// s_j - m, with m the largest s of the row, and the rounding error of this difference (Knuth's TwoSum).
template <class Real>
struct ShiftedInput {
    Real value, error;
};

template <class Real>
FASTBP_FORMULA ShiftedInput<Real> shifted_input(Real s_j, Real m) {
    const Real shifted = s_j - m, minus_m = shifted - s_j;
    return {shifted, (s_j - (shifted - minus_m)) - (m + minus_m)};
}

// exp(s_j - m). The exponential would magnify the error of the shift, so the error is corrected in the result.
template <class Real>
FASTBP_FORMULA Real exponential_of(ShiftedInput<Real> shifted) {
    const Real e = exponential(shifted.value);
    return e + e * shifted.error;
}

// The structs below are in an anonymous namespace, because every instruction set needs its own copy of their functions.
namespace {

// ---- (10) ----------------------------------------------------------------------------------------------------------

// delta = x (u - mean) with mean = sum_j u_j x_j. So delta_dot = x_dot (u - mean) + x (u_dot - mean_dot), and x_dot is
// softmax's Jacobian times s_dot. The s_dot, u and u_dot of the largest x are subtracted first, so that differences
// keep their digits.
template <class Real>
struct SoftmaxTangent {
    Real s_dot_m, u_m, u_dot_m;  // of the largest x
    Real mean_s = 0, mean = 0;   // sums over the row
    Real mean_dot = 0;

    constexpr Real mean_s_term(Real x, Real s_dot) const { return x * (s_dot - s_dot_m); }
    constexpr Real mean_term(Real x, Real u) const { return x * (u - u_m); }
    constexpr Real x_dot(Real x, Real s_dot) const { return x * ((s_dot - s_dot_m) - mean_s); }
    constexpr Real mean_dot_term(Real x, Real s_dot, Real u, Real u_dot) const {
        return (u_dot - u_dot_m) * x + (u - u_m) * x_dot(x, s_dot);
    }
    constexpr Real delta_dot(Real x, Real s_dot, Real u, Real u_dot) const {
        const Real moved = x_dot(x, s_dot) * ((u - u_m) - mean);
        return moved + x * ((u_dot - u_dot_m) - mean_dot);
    }
};

// ---- (3) and (9) ---------------------------------------------------------------------------------------------------

// One row of s and x. m is the column of the largest x, or of one of them.
template <class Real>
struct SoftmaxRow {
    const Real *s, *x;
    Index s_step, x_step, n;
    Real s_m, x_m;
    double others;     // the sum of the other x
    double log_ratio;  // ln(1 + others / x_m)
    Index m = 0;

    constexpr double output(Index j) const { return double(x[j * x_step]); }
    // -ln x_j: accurate for confident right and wrong predictions.
    constexpr double minus_log(Index j) const { return (double(s_m) - double(s[j * s_step])) + log_ratio; }
    constexpr bool is_largest(Index j) const { return x[j * x_step] == x_m; }
    constexpr double complement(Index j) const { return j == m ? others : 1 - output(j); }
    constexpr double residual(Index j, double y) const {
        return j == m && x_m > Real(0.5) ? (1 - y) - others : output(j) - y;
    }
    // a_j (1 - x_j) - x_j (sum of the other a). a_rest is the sum of all a but a_m.
    constexpr double mixed(Index j, double a_j, double a_m, double a_rest) const {
        const double other_a = j == m ? a_rest : a_m + (a_rest - a_j);
        return a_j * complement(j) - output(j) * other_a;
    }
    // (9): the mix of a_dot, less x_dot_j (sum of a), with x_dot_j = x_j slope and slope = s_dot_j - sum x s_dot.
    // Gauss-Newton leaves out the second term, except behind the canonical link.
    constexpr double mixed_dot(Index j, double mixed_a_dot, double slope, double sum_a, bool whole) const {
        const double second = whole ? output(j) * slope * sum_a : 0.0;
        return mixed_a_dot - second;
    }
};

// One row of a target.
template <class Target>
struct TargetRow {
    const Target& y;
    Index row;

    constexpr double value(Index j) const { return double(y.value(row, j)); }
    constexpr double weight(Index j) const { return y.weight(row, j); }
    // The weight of class number k among n. A masked row may hold any number.
    constexpr double weight_of_class(Index k, Index n) const { return k < 0 || k >= n ? 0.0 : weight(k); }
};

// The terms of a loss for each output of a row: e_j, a_j, and a_dot_j, the derivative of a_j along x_dot_j = x_j slope.
// a_dot_j is complete or only its Gauss-Newton part, x_j c (d2e/dx2) x_dot_j.
template <class LossFunction, class Real, class Target>
struct SoftmaxLoss {
    const LossFunction& loss;
    const SoftmaxRow<Real>& row;
    const TargetRow<Target>& y;

    constexpr double loss_of(Index j) const {
        const double y_j = y.value(j);
        if (loss.kind == Loss::cross_entropy) return y_j == 0 ? 0.0 : y_j * row.minus_log(j);
        if (loss.kind == Loss::poisson) return poisson_loss(y_j, row.output(j), -row.minus_log(j));
        return of_residual(j, [](auto tag, double r, double p) { return residual_loss<decltype(tag)::value>(r, p); });
    }
    constexpr double term(Index j) const {
        const double c = y.weight(j);
        if (c == 0) return 0;
        if (loss.kind == Loss::cross_entropy) return -c * y.value(j);
        if (loss.kind == Loss::poisson) return c * row.residual(j, y.value(j));
        return c * row.output(j) * prime(j);
    }
    constexpr double term_dot(Index j, double slope, Curvature which) const {
        const double c = y.weight(j), x = row.output(j);
        if (c == 0) return 0;
        const bool whole = which == Curvature::hessian;
        if (loss.kind == Loss::cross_entropy) return 0;
        if (loss.kind == Loss::poisson) return c * slope * (whole ? x : y.value(j));
        const double second =
            of_residual(j, [](auto tag, double r, double p) { return residual_second<decltype(tag)::value>(r, p); });
        return c * x * slope * (x * second + (whole ? prime(j) : 0.0));
    }

  private:
    constexpr double prime(Index j) const {
        return of_residual(j, [](auto tag, double r, double p) { return residual_prime<decltype(tag)::value>(r, p); });
    }
    template <class Formula>
    constexpr double of_residual(Index j, Formula formula) const {
        const double p = loss.parameter_of(j);
        double value = 0;
        with_residual_loss(loss.kind, [&](auto tag) { value = formula(tag, row.residual(j, y.value(j)), p); });
        return value;
    }
};

}  // namespace
}  // namespace fastbp::formulas
