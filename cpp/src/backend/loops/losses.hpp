// Equation (3) and its tangent (9) over the rows of a tile.
#pragma once

#include "backend/loops/activations.hpp"

namespace fastbp::loops {
namespace {

// One row of the target: y_j and c_j wherever they come from.
template <class Real>
struct TargetRow {
    const Target<Real>& y;
    Index row;

    Real value(Index j) const { return y.value(row, j); }
    double weight(Index j) const { return y.weight(row, j); }
};

struct RowLoss {
    double weighted = 0, plain = 0;
};

// Cross entropy behind softmax: ln x_j = (s_j - s_m) - ln(1 + sum of the others' x / x_m), m the largest, which loses
// nothing however far the answer is right or wrong. delta = x sum(t) - t with t = c y, and for a class number
// without cancellation: x_k - 1 = -(sum of the others).
template <class Real>
struct SoftmaxRow {
    const Real *s, *x;
    Index s_step, x_step, n;
    Real s_m, x_m;
    double others, log_ratio;

    double minus_log(Index j) const { return (double(s_m) - double(s[j * s_step])) + log_ratio; }
    bool is_largest(Index j) const { return x[j * x_step] == x_m; }
};

// Of rows `first`, ..: the sum of all x but one of those that are as large as the largest.
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

template <class Real>
inline RowLoss softmax_cross_entropy_row(const SoftmaxRow<Real>& row, const TargetRow<Real>& y, double scale,
                                         Real* delta, Index d_step) {
    RowLoss loss;
    if (y.y.classes.data != nullptr) {
        const Index k = y.y.classes.data[y.row];
        const double c = k < 0 || k >= row.n ? 0 : y.weight(k);  // a masked row may hold any number
        if (c == 0) {
            for (Index j = 0; delta != nullptr && j < row.n; ++j) delta[j * d_step] = 0;
            return loss;
        }
        loss.plain = row.minus_log(k);
        loss.weighted = c * loss.plain;
        if (delta == nullptr) return loss;
        const Real factor = Real(c * scale);
        const Real at_k = row.is_largest(k) ? -factor * Real(row.others) : factor * (row.x[k * row.x_step] - 1);
        FASTBP_INDEPENDENT
        for (Index j = 0; j < row.n; ++j) delta[j * d_step] = factor * row.x[j * row.x_step];
        delta[k * d_step] = at_k;
        return loss;
    }
    double total = 0;
    for (Index j = 0; j < row.n; ++j) {
        const double c = y.weight(j);
        const double t = c == 0 ? 0.0 : c * double(y.value(j));
        total += t;
        if (t != 0) {
            loss.weighted += t * row.minus_log(j);
            loss.plain += double(y.value(j)) * row.minus_log(j);
        }
        if (delta != nullptr) delta[j * d_step] = Real(-scale * t);
    }
    if (delta == nullptr) return loss;
    const Real factor = Real(scale * total);
    for (Index j = 0; j < row.n; ++j) delta[j * d_step] += factor * row.x[j * row.x_step];
    return loss;
}

// One row of every other loss. e(j, y) gives the loss of one output, slope(j, y) what is written to delta.
template <class Real, class Value, class Slope>
inline RowLoss separable_row(const TargetRow<Real>& y, Index n, double scale, Real* delta, Index d_step, Value e,
                             Slope slope) {
    RowLoss loss;
    for (Index j = 0; j < n; ++j) {
        const double c = y.weight(j);
        if (c == 0) {  // a masked target may be nan
            if (delta != nullptr) delta[j * d_step] = 0;
            continue;
        }
        const Real y_j = y.value(j);
        const double e_j = e(j, y_j);
        loss.plain += e_j;
        loss.weighted += c * e_j;
        if (delta != nullptr) delta[j * d_step] = Real(c * scale) * slope(j, y_j);
    }
    return loss;
}

// One row of any loss but cross entropy behind softmax.
template <bool unit, class Real>
RowLoss loss_row(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                 const TargetRow<Real>& y, double scale, Real* delta, Index d_step) {
    const Index s_step = step_of<unit>(s), x_step = step_of<unit>(x), n = x.cols;
    const Real* s_row = s.data == nullptr ? nullptr : row_of(s, y.row);
    const Real* x_row = row_of(x, y.row);
    const auto difference = [=](Index j, Real y_j) { return x_row[j * x_step] - y_j; };
    if (loss.kind == Loss::cross_entropy)
        return separable_row(
            y, n, scale, delta, d_step,
            [=](Index j, Real y_j) { return formulas::logistic_cross_entropy(double(y_j), double(s_row[j * s_step])); },
            difference);
    if (loss.kind == Loss::poisson && g.kind == Activation::exp)
        return separable_row(
            y, n, scale, delta, d_step,
            [=](Index j, Real y_j) {
                return formulas::poisson_from_s(double(y_j), double(s_row[j * s_step]), double(x_row[j * x_step]));
            },
            difference);
    RowLoss sum;
    const auto parameter = [&loss](Index j) {
        return loss.parameter.data == nullptr ? Real(0) : loss.parameter.data[j];
    };
    with_loss(loss.kind, [&](auto tag) {
        constexpr Loss kind = decltype(tag)::value;
        sum = separable_row(
            y, n, scale, delta, d_step,
            [=](Index j, Real y_j) { return formulas::loss_value<kind>(y_j, x_row[j * x_step], parameter(j)); },
            [=](Index j, Real y_j) { return formulas::loss_prime<kind>(y_j, x_row[j * x_step], parameter(j)); });
    });
    return sum;
}

// Cross entropy behind softmax; the logarithms of several rows fill a vector. report(r, loss) takes each row's loss.
template <bool unit, class Real, class Report>
void softmax_cross_entropy(Matrix<const Real> s, Matrix<const Real> x, const Target<Real>& y, double scale,
                           Matrix<Real> delta, Report report) {
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
            const SoftmaxRow<Real> row{row_of(s, r), row_of(x, r), step_of<unit>(s), step_of<unit>(x), x.cols,
                                       s_m[i],       x_m[i],       others[i],        logarithm[i]};
            Real* delta_row = delta.data == nullptr ? nullptr : row_of(delta, r);
            report(r, softmax_cross_entropy_row(row, TargetRow<Real>{y, r}, scale, delta_row, step_of<unit>(delta)));
        }
    }
}

template <bool unit, class Real>
void output_delta(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                  Matrix<const Real> x, const Target<Real>& y, Matrix<Real> delta, LossSlots slots) {
    const double scale = *y.scale;
    double sum = 0;
    const auto report = [&](Index r, RowLoss row) {
        sum += row.weighted;
        if (slots.example.data != nullptr) slots.example.data[r] = row.plain;
    };
    if (loss.kind == Loss::cross_entropy && g.kind == Activation::softmax)
        softmax_cross_entropy<unit>(s, x, y, scale, delta, report);
    else
        for (Index r = 0; r < x.rows; ++r) {
            Real* delta_row = delta.data == nullptr ? nullptr : row_of(delta, r);
            report(r, loss_row<unit>(loss, g, s, x, TargetRow<Real>{y, r}, scale, delta_row, step_of<unit>(delta)));
        }
    *slots.sum += scale * sum;
    if (delta.data != nullptr && !loss_needs_s(loss.kind, g.kind)) multiply_by_derivative<unit>(g, s, x, delta);
}

// c scale de/dx and c scale d2e/dx2 of n outputs of a row from `begin`; 0 where c is, whatever the target.
template <class Real>
void loss_derivatives(const LossFunction<Real>& loss, Matrix<const Real> x, const TargetRow<Real>& y, double scale,
                      Index begin, Index n, Real* first, Real* second) {
    with_loss(loss.kind, [&](auto tag) {
        constexpr Loss kind = decltype(tag)::value;
        for (Index j = 0; j < n; ++j) {
            const Index at = begin + j;
            const Real factor = Real(y.weight(at) * scale);
            const Real p = loss.parameter.data == nullptr ? Real(0) : loss.parameter.data[at];
            first[j] = factor == 0 ? Real(0) : factor * formulas::loss_prime<kind>(y.value(at), x(y.row, at), p);
            second[j] = factor == 0 ? Real(0) : factor * formulas::loss_second<kind>(y.value(at), x(y.row, at), p);
        }
    });
}

// (9) where g is elementwise: delta = c scale h(s), so delta_dot = c scale h'(s) s_dot, with h' = g' where the loss is
// taken from s (delta = x - y), else e'' g'^2 + e' g''.
template <bool unit, class Real>
void elementwise_tangent_row(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                             Matrix<const Real> x, const TargetRow<Real>& y, Matrix<const Real> s_dot,
                             Matrix<Real> delta_dot, double scale) {
    Real prime[tangent_block], second[tangent_block], e1[tangent_block], e2[tangent_block];
    const bool from_s = loss_needs_s(loss.kind, g.kind);
    for (Index begin = 0; begin < x.cols; begin += tangent_block) {
        const Index n = x.cols - begin < tangent_block ? x.cols - begin : tangent_block;
        derivatives<unit>(g, s, x, y.row, begin, n, prime, second);
        if (!from_s) loss_derivatives(loss, x, y, scale, begin, n, e1, e2);
        for (Index j = 0; j < n; ++j) {
            const Real slope =
                from_s ? Real(y.weight(begin + j) * scale) * prime[j] : e2[j] * prime[j] * prime[j] + e1[j] * second[j];
            delta_dot(y.row, begin + j) = slope * s_dot(y.row, begin + j);
        }
    }
}

// (9) behind softmax, with x_dot = x (s_dot - sum x s_dot). Cross entropy: delta = x T - t. Else delta = x (v - sum v
// x) with v = c scale de/dx.
template <class Real>
void softmax_tangent_row(const LossFunction<Real>& loss, Matrix<const Real> x, const TargetRow<Real>& y,
                         Matrix<const Real> s_dot, Matrix<Real> delta_dot, double scale) {
    const Index r = y.row, cols = x.cols;
    Real mean = 0, mean_v = 0, mean_v_dot = 0;
    for (Index j = 0; j < cols; ++j) mean += x(r, j) * s_dot(r, j);
    const auto x_dot = [&](Index j) { return x(r, j) * (s_dot(r, j) - mean); };
    if (loss.kind == Loss::cross_entropy) {
        double total = 0;
        for (Index j = 0; j < cols; ++j) total += y.weight(j) == 0 ? 0.0 : y.weight(j) * double(y.value(j));
        for (Index j = 0; j < cols; ++j) delta_dot(r, j) = Real(scale * total) * x_dot(j);
        return;
    }
    // The first pass takes the sums, the second writes.
    Real v[tangent_block], v_slope[tangent_block];
    for (int pass = 0; pass < 2; ++pass)
        for (Index begin = 0; begin < cols; begin += tangent_block) {
            const Index n = cols - begin < tangent_block ? cols - begin : tangent_block;
            loss_derivatives(loss, x, y, scale, begin, n, v, v_slope);
            for (Index j = 0; j < n; ++j) {
                const Index at = begin + j;
                const Real v_dot = v_slope[j] * x_dot(at);
                if (pass == 0) {
                    mean_v += v[j] * x(r, at);
                    mean_v_dot += v_dot * x(r, at) + v[j] * x_dot(at);
                } else {
                    delta_dot(r, at) = x_dot(at) * (v[j] - mean_v) + x(r, at) * (v_dot - mean_v_dot);
                }
            }
        }
}

template <bool unit, class Real>
void output_delta_tangent(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                          Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot,
                          Matrix<Real> delta_dot) {
    for (Index r = 0; r < x.rows; ++r) {
        const TargetRow<Real> row{y, r};
        if (g.kind == Activation::softmax)
            softmax_tangent_row(loss, x, row, s_dot, delta_dot, *y.scale);
        else
            elementwise_tangent_row<unit>(loss, g, s, x, row, s_dot, delta_dot, *y.scale);
    }
}

}  // namespace
}  // namespace fastbp::loops
