// Equations (3) and (9) behind softmax, row by row.
#pragma once

#include "backend/loops/activations.hpp"

namespace fastbp::loops {
namespace {

using formulas::SoftmaxRow;

// The terms of a loss for each output of a row.
template <class Real>
using SoftmaxLoss = formulas::SoftmaxLoss<LossFunction<Real>, Real, Target<Real>>;

template <class Real>
using TargetRow = formulas::TargetRow<Target<Real>>;

struct RowLoss {
    double weighted = 0, plain = 0;
};

template <class Real>
inline void find_largest(SoftmaxRow<Real>& row) {
    while (row.m < row.n - 1 && !row.is_largest(row.m)) ++row.m;
}

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
    const double c = y.weight_of_class(k, row.n);
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

// Calls write(j, a_j (1 - x_j) - x_j (sum of the other a)) for every j; returns the sum of all a.
template <class Real, class Term, class Write>
inline double mix_row(const SoftmaxRow<Real>& row, Term a, Write write) {
    double rest = 0;
    for (Index j = 0; j < row.n; ++j)
        if (j != row.m) rest += a(j);
    const double a_m = a(row.m);
    for (Index j = 0; j < row.n; ++j) write(j, row.mixed(j, a(j), a_m, rest));
    return a_m + rest;
}

// One row of any loss and any target.
template <class Real>
[[gnu::noinline]] RowLoss softmax_loss_row(const SoftmaxLoss<Real>& loss, double scale, Real* delta, Index d_step) {
    if (is_masked(loss.y.y.c, loss.y.row)) {
        for (Index j = 0; delta != nullptr && j < loss.row.n; ++j) delta[j * d_step] = 0;
        return {};
    }
    using Pair __attribute__((vector_size(2 * sizeof(double)))) = double;
    Pair sum = {};  // weighted and plain; in a vector, c e is rounded before it is added, with and without FMA
    for (Index j = 0; j < loss.row.n; ++j) {
        const double c = loss.y.weight(j);
        if (c == 0) continue;  // a masked target may be NaN
        const double e = loss.loss_of(j);
        sum += Pair{c * e, e};
    }
    if (delta != nullptr)
        mix_row(
            loss.row, [&](Index j) { return loss.term(j); },
            [=](Index j, double mixed) { delta[j * d_step] = Real(scale * mixed); });
    return {sum[0], sum[1]};
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
        find_largest(row);
        report(r, softmax_loss_row(SoftmaxLoss<Real>{loss, row, target}, scale, delta_row, d_step));
    });
}

// (9). The s_dot of the largest x is subtracted first, so that differences keep their digits.
template <bool unit, class Real>
[[gnu::cold]] void softmax_output_delta_tangent(const LossFunction<Real>& loss, Matrix<const Real> s,
                                                Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot,
                                                Matrix<Real> delta_dot, Curvature which) {
    const double scale = *y.scale;
    const bool whole = which == Curvature::hessian || is_canonical(loss.kind, Activation::softmax);
    each_softmax_row<unit>(s, x, [&](Index r, SoftmaxRow<Real> row) {
        const TargetRow<Real> target{y, r};
        if (is_masked(y.c, r)) {
            for (Index j = 0; j < row.n; ++j) delta_dot(r, j) = 0;
            return;
        }
        find_largest(row);
        const SoftmaxLoss<Real> terms{loss, row, target};
        const auto from_largest = [&](Index j) { return double(s_dot(r, j)) - double(s_dot(r, row.m)); };
        double mean = 0, sum = 0;
        for (Index j = 0; j < row.n; ++j) {
            mean += row.output(j) * from_largest(j);
            sum += terms.term(j);
        }
        const auto slope = [&](Index j) { return from_largest(j) - mean; };
        mix_row(
            row, [&](Index j) { return terms.term_dot(j, slope(j), which); },
            [&](Index j, double mixed) {
                delta_dot(r, j) = Real(scale * row.mixed_dot(j, mixed, slope(j), sum, whole));
            });
    });
}

}  // namespace
}  // namespace fastbp::loops
