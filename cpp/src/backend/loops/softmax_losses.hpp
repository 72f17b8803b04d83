// Equations (3) and (9) behind softmax, which mixes the outputs of a row.
//
// With a_j = c x_j de/dx_j, which is finite even if x_j underflows, delta_j = a_j (1 - x_j) - x_j (sum of the other a).
// For the largest x_j, 1 - x_j is computed as the sum of the other x, and the sum of the other a never contains a_j.
// So nothing cancels.
#pragma once

#include "backend/loops/activations.hpp"

namespace fastbp::loops {
namespace {

// One row of the target: y_j and c_j, from values or class numbers.
template <class Real>
struct TargetRow {
    const Target<Real>& y;
    Index row;

    double value(Index j) const { return double(y.value(row, j)); }
    double weight(Index j) const { return y.weight(row, j); }
    // True if all weights of the row are 0. Its x may then be NaN.
    bool is_masked(Index n) const {
        for (Index j = 0; j < n; ++j)
            if (weight(j) != 0) return false;
        return true;
    }
};

struct RowLoss {
    double weighted = 0, plain = 0;
};

// ln x_j = (s_j - s_m) - ln(1 + sum of the others' x / x_m), m the largest: accurate for confident right and wrong
// predictions.
template <class Real>
struct SoftmaxRow {
    const Real *s, *x;
    Index s_step, x_step, n;
    Real s_m, x_m;
    double others, log_ratio;
    Index largest = 0;

    double output(Index j) const { return double(x[j * x_step]); }
    double minus_log(Index j) const { return (double(s_m) - double(s[j * s_step])) + log_ratio; }
    bool is_largest(Index j) const { return x[j * x_step] == x_m; }
    double complement(Index j) const { return j == largest ? others : 1 - output(j); }
    double residual(Index j, double y) const {
        return j == largest && x_m > Real(0.5) ? (1 - y) - others : output(j) - y;
    }
    void find_largest() {
        while (largest < n - 1 && !is_largest(largest)) ++largest;
    }
};

// The sums of the x in each row from `first` on, without the largest x (one of them, if there are several).
template <bool unit, class Real>
inline void sums_of_others(Matrix<const Real> x, Index first, Index rows, const Real* largest, double* others) {
    using S = Vectors<Real>;
    using Wide = Vectors<double>;
    const auto smaller = [=](Index i, Index j, Index n) {
        const auto part = load_part<unit, double>(x, first + i, j, n, Wide::all(0));
        return Wide::where_less(part, Wide::all(double(largest[i])), part);
    };
    const auto ones_of_smaller = [=](Index i, Index j, Index n) {
        const auto part = load_part<unit, Real>(x, first + i, j, n, S::all(largest[i]));
        return S::where_less(part, S::all(largest[i]), S::all(1));
    };
    Real count[rows_at_a_time];
    fold_rows<double>(rows, x.cols, smaller, std::plus<>(), others);
    fold_rows<Real>(rows, x.cols, ones_of_smaller, std::plus<>(), count);
    for (Index i = 0; i < rows; ++i) others[i] += double(Real(x.cols - 1) - count[i]) * double(largest[i]);
}

// Calls body(r, row) for each row. The logarithms of several rows fill a vector.
template <bool unit, class Real, class Body>
inline void each_softmax_row(Matrix<const Real> s, Matrix<const Real> x, Body body) {
    for (Index begin = 0; begin < x.rows; begin += rows_at_a_time) {
        const Index rows = x.rows - begin < rows_at_a_time ? x.rows - begin : rows_at_a_time;
        Real s_m[rows_at_a_time], x_m[rows_at_a_time];
        double others[rows_at_a_time], logarithm[rows_at_a_time];
        row_maxima<unit>(s, begin, rows, s_m);
        row_maxima<unit>(x, begin, rows, x_m);
        sums_of_others<unit>(x, begin, rows, x_m, others);
        FASTBP_INDEPENDENT
        for (Index i = 0; i < rows; ++i) logarithm[i] = formulas::log_one_plus_any(others[i] / double(x_m[i]));
        for (Index i = 0; i < rows; ++i) {
            const Index r = begin + i;
            body(r, SoftmaxRow<Real>{row_of(s, r), row_of(x, r), step_of<unit>(s), step_of<unit>(x), x.cols, s_m[i],
                                     x_m[i], others[i], logarithm[i]});
        }
    }
}

// Cross entropy with class number k, the common case: delta = c (x - y), and x_k - 1 = -(sum of the others).
template <class Real>
inline RowLoss class_cross_entropy_row(const SoftmaxRow<Real>& row, const TargetRow<Real>& y, double scale, Real* delta,
                                       Index d_step) {
    const Index k = y.y.classes.data[y.row];
    const double c = k < 0 || k >= row.n ? 0 : y.weight(k);  // a masked row may hold any number
    if (c == 0) {
        for (Index j = 0; delta != nullptr && j < row.n; ++j) delta[j * d_step] = 0;
        return {};
    }
    const RowLoss loss{c * row.minus_log(k), row.minus_log(k)};
    if (delta == nullptr) return loss;
    const Real factor = Real(c * scale);
    const Real at_k = row.is_largest(k) ? -factor * Real(row.others) : factor * (row.x[k * row.x_step] - 1);
    FASTBP_INDEPENDENT
    for (Index j = 0; j < row.n; ++j) delta[j * d_step] = factor * row.x[j * row.x_step];
    delta[k * d_step] = at_k;
    return loss;
}

// The terms of a loss for each output of a row: e_j, a_j, and a_dot_j, the derivative of a_j along x_dot_j = x_j slope.
// a_dot_j is complete or only its Gauss-Newton part, x_j c (d2e/dx2) x_dot_j.
template <class Real>
struct SoftmaxLoss {
    const LossFunction<Real>& loss;
    const SoftmaxRow<Real>& row;
    const TargetRow<Real>& y;

    double loss_of(Index j) const {
        const double y_j = y.value(j);
        if (loss.kind == Loss::cross_entropy) return y_j == 0 ? 0.0 : y_j * row.minus_log(j);
        if (loss.kind == Loss::poisson) return formulas::poisson_loss(y_j, row.output(j), -row.minus_log(j));
        return of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_loss<decltype(tag)::value>(r, p); });
    }
    double term(Index j) const {
        const double c = y.weight(j);
        if (c == 0) return 0;
        if (loss.kind == Loss::cross_entropy) return -c * y.value(j);
        if (loss.kind == Loss::poisson) return c * row.residual(j, y.value(j));
        return c * row.output(j) * prime(j);
    }
    double term_dot(Index j, double slope, Curvature which) const {
        const double c = y.weight(j), x = row.output(j);
        if (c == 0) return 0;
        const bool whole = which == Curvature::hessian;
        if (loss.kind == Loss::cross_entropy) return 0;
        if (loss.kind == Loss::poisson) return c * slope * (whole ? x : y.value(j));
        const double second = of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_second<decltype(tag)::value>(r, p); });
        return c * x * slope * (x * second + (whole ? prime(j) : 0.0));
    }

  private:
    double prime(Index j) const {
        return of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_prime<decltype(tag)::value>(r, p); });
    }
    template <class Formula>
    double of_residual(Index j, Formula formula) const {
        const double p = loss.parameter.empty() ? 0.0 : double(loss.parameter[j]);
        double value = 0;
        with_residual_loss(loss.kind, [&](auto tag) { value = formula(tag, row.residual(j, y.value(j)), p); });
        return value;
    }
};

// Calls write(j, a_j (1 - x_j) - x_j (sum of the other a)) for every j; returns the sum of all a.
template <class Real, class Term, class Write>
inline double mix_row(const SoftmaxRow<Real>& row, Term a, Write write) {
    const Index m = row.largest;
    double rest = 0;  // without that of the largest x
    for (Index j = 0; j < row.n; ++j)
        if (j != m) rest += a(j);
    const double a_m = a(m);
    for (Index j = 0; j < row.n; ++j) {
        const double a_j = a(j), others = j == m ? rest : a_m + (rest - a_j);
        write(j, a_j * row.complement(j) - row.output(j) * others);
    }
    return a_m + rest;
}

// One row of any loss and any target.
template <class Real>
[[gnu::noinline]] RowLoss softmax_loss_row(const SoftmaxLoss<Real>& loss, double scale, Real* delta, Index d_step) {
    RowLoss sum;
    if (loss.y.is_masked(loss.row.n)) {
        for (Index j = 0; delta != nullptr && j < loss.row.n; ++j) delta[j * d_step] = 0;
        return sum;
    }
    for (Index j = 0; j < loss.row.n; ++j) {
        const double c = loss.y.weight(j);
        if (c == 0) continue;  // a masked target may be nan
        const double e = loss.loss_of(j);
        sum.plain += e;
        sum.weighted += c * e;
    }
    if (delta != nullptr)
        mix_row(
            loss.row, [&](Index j) { return loss.term(j); },
            [=](Index j, double mixed) { delta[j * d_step] = Real(scale * mixed); });
    return sum;
}

// Calls report(r, loss) with each row's loss.
template <bool unit, class Real, class Report>
void softmax_output_delta(const LossFunction<Real>& loss, Matrix<const Real> s, Matrix<const Real> x,
                          const Target<Real>& y, Matrix<Real> delta, Report report) {
    const double scale = *y.scale;
    const Index d_step = step_of<unit>(delta);
    const bool by_class = loss.kind == Loss::cross_entropy && !y.classes.empty();
    each_softmax_row<unit>(s, x, [&](Index r, SoftmaxRow<Real> row) {
        const TargetRow<Real> target{y, r};
        Real* delta_row = delta.data == nullptr ? nullptr : row_of(delta, r);
        if (by_class) return report(r, class_cross_entropy_row(row, target, scale, delta_row, d_step));
        row.find_largest();
        report(r, softmax_loss_row(SoftmaxLoss<Real>{loss, row, target}, scale, delta_row, d_step));
    });
}

// (9): delta_dot = (mix_row of a_dot) - x_dot (sum of a), with x_dot = x slope and slope_j = s_dot_j - sum x s_dot.
// Gauss-Newton leaves out the second term, except behind the canonical link. The s_dot of the largest x is subtracted
// first, so that differences keep their digits.
template <bool unit, class Real>
[[gnu::cold]] void softmax_output_delta_tangent(const LossFunction<Real>& loss, Matrix<const Real> s,
                                                Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot,
                                                Matrix<Real> delta_dot, Curvature which) {
    const double scale = *y.scale;
    const bool whole = which == Curvature::hessian || is_canonical(loss.kind, Activation::softmax);
    each_softmax_row<unit>(s, x, [&](Index r, SoftmaxRow<Real> row) {
        const TargetRow<Real> target{y, r};
        if (target.is_masked(row.n)) {
            for (Index j = 0; j < row.n; ++j) delta_dot(r, j) = 0;
            return;
        }
        row.find_largest();
        const SoftmaxLoss<Real> terms{loss, row, target};
        const auto from_largest = [&](Index j) { return double(s_dot(r, j)) - double(s_dot(r, row.largest)); };
        double mean = 0, sum = 0;
        for (Index j = 0; j < row.n; ++j) {
            mean += row.output(j) * from_largest(j);
            sum += terms.term(j);
        }
        const auto slope = [&](Index j) { return from_largest(j) - mean; };
        mix_row(
            row, [&](Index j) { return terms.term_dot(j, slope(j), which); },
            [&](Index j, double mixed) {
                const double turned = whole ? row.output(j) * slope(j) * sum : 0.0;
                delta_dot(r, j) = Real(scale * (mixed - turned));
            });
    });
}

}  // namespace
}  // namespace fastbp::loops
