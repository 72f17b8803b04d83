// Equation (2), g' of (3) and (4), and the tangents of (8) and (10), over blocks.
#pragma once

#include "backend/loops/row_folds.hpp"
#include "formulas/softmax.hpp"

namespace fastbp::loops {
namespace {

// Sums of a row run in separate lanes: without -ffast-math a compiler may not reorder them itself.
template <class Real>
constexpr int lanes = 64 / int(sizeof(Real));

template <class Real, class Term>
inline Real lane_sum(Index n, Term term) {
    if (n < lanes<Real>) {
        Real sum = 0;
        for (Index j = 0; j < n; ++j) sum += term(j);
        return sum;
    }
    Real lane[lanes<Real>] = {};
    Index j = 0;
    for (; j + lanes<Real> <= n; j += lanes<Real>)
        for (int k = 0; k < lanes<Real>; ++k) lane[k] += term(j + k);
    for (int k = 0; j < n; ++j, ++k) lane[k] += term(j);
    for (int width = lanes<Real> / 2; width > 0; width /= 2)
        for (int k = 0; k < width; ++k) lane[k] += lane[k + width];
    return lane[0];
}

// x = softmax(s), each row shifted by its maximum, for at most rows_at_a_time rows. If rows are narrow, one loop
// computes the exponentials of several rows, to fill the vectors.
template <bool unit, class Real>
inline void softmax(Matrix<const Real> s, Matrix<Real> x) {
    const Index s_step = step_of<unit>(s), x_step = step_of<unit>(x), n = x.cols;
    Real largest[rows_at_a_time], sum[rows_at_a_time];
    row_maxima<unit>(s, 0, x.rows, largest);
    each_block(x.rows, n, [&](const BlockPlace& place) {
        Real shift[outputs_at_a_time], error[outputs_at_a_time];
        Index k = 0;
        for (Index r = place.row; r < place.row + place.rows; ++r) {
            const Real* s_row = row_of(s, r) + place.column * s_step;
            const Real m = largest[r];
            for (Index j = 0; j < place.columns; ++j, ++k) {
                const formulas::ShiftedInput<Real> shifted = formulas::shifted_input(s_row[j * s_step], m);
                shift[k] = shifted.value;
                error[k] = shifted.error;
            }
        }
        for (Index i = 0; i < k; ++i) shift[i] = formulas::exponential_of<Real>({shift[i], error[i]});
        k = 0;
        for (Index r = place.row; r < place.row + place.rows; ++r) {
            Real* x_row = row_of(x, r) + place.column * x_step;
            for (Index j = 0; j < place.columns; ++j, ++k) x_row[j * x_step] = shift[k];
        }
    });
    row_sums<unit, Real>(x, 0, x.rows, sum);
    for (Index r = 0; r < x.rows; ++r) {
        Real* x_row = row_of(x, r);
        for (Index j = 0; j < n; ++j) x_row[j * x_step] /= sum[r];
    }
}

template <bool unit, class Real>
inline void add_bias(Vector<const Real> b, Real* s, Index step) {
    FASTBP_INDEPENDENT
    for (Index j = 0; j < b.size; ++j) s[j * step] += b.data[j];
}

template <bool unit, class Real>
void activate(ActivationFunction<Real> g, Vector<const Real> b, Matrix<Real> s, Matrix<Real> x) {
    const Index s_step = step_of<unit>(s), x_step = step_of<unit>(x);
    if (couples_columns(g.kind)) {
        for (Index r = 0; r < s.rows; ++r) add_bias<unit>(b, row_of(s, r), s_step);
        for (Index r = 0; r < s.rows; r += rows_at_a_time) {
            const Index end = s.rows - r < rows_at_a_time ? s.rows : r + rows_at_a_time;
            softmax<unit, Real>(s.row_block(r, end), x.row_block(r, end));
        }
        return;
    }
    // If s is kept beside x, a separate loop adds the bias to a row of s, which then is in the cache. One fused loop
    // for each activation would cost too much code.
    const bool in_place = s.data == x.data;
    with_activation(g.kind, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        const Extent extent = b.empty() ? extent_of(s, x) : Extent{s.rows, s.cols};
        for (Index r = 0; r < extent.rows; ++r) {
            Real* s_row = row_of(s, r);
            Real* x_row = row_of(x, r);
            if (b.empty() || !in_place) {
                add_bias<unit>(b, s_row, s_step);
                FASTBP_INDEPENDENT
                for (Index j = 0; j < extent.cols; ++j) x_row[j * x_step] = formulas::g<kind>(s_row[j * s_step], g.a);
            } else {
                FASTBP_INDEPENDENT
                for (Index j = 0; j < extent.cols; ++j)
                    x_row[j * x_step] = formulas::g<kind>(x_row[j * x_step] + b.data[j], g.a);
            }
        }
    });
}

// The column of the largest of n numbers. With NaN it may be any column.
template <class Real>
inline Index column_of_largest(const Real* x, Index step, Index n) {
    Index at = 0;
    for (Index j = 1; j < n; ++j) at = x[j * step] > x[at * step] ? j : at;
    return at;
}

// v = x (v - sum_j v_j x_j): the product of softmax's symmetric Jacobian with v, in place. The v of the largest x is
// subtracted first, so that the difference keeps its digits if that x is near 1.
template <bool unit, class Real>
inline void softmax_jacobian_row(const Real* x, Index x_step, Real* v, Index v_step, Index n) {
    const Index x_by = unit ? 1 : x_step, v_by = unit ? 1 : v_step;
    const Real v_m = v[column_of_largest(x, x_by, n) * v_by];
    for (Index j = 0; j < n; ++j) v[j * v_by] -= v_m;
    const Real mean = lane_sum<Real>(n, [=](Index j) { return v[j * v_by] * x[j * x_by]; });
    for (Index j = 0; j < n; ++j) v[j * v_by] = x[j * x_by] * (v[j * v_by] - mean);
}

template <bool unit, class Real>
void multiply_by_derivative(ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                            Matrix<Real> delta) {
    if (g.kind == Activation::identity) return;
    const Index s_step = step_of<unit>(s), x_step = step_of<unit>(x), d_step = step_of<unit>(delta);
    if (couples_columns(g.kind)) {
        for (Index r = 0; r < delta.rows; ++r)
            softmax_jacobian_row<unit>(row_of(x, r), x_step, row_of(delta, r), d_step, delta.cols);
        return;
    }
    with_activation(g.kind, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        const Matrix<const Real> from = derivative_needs_s(kind) ? s : x;
        const Extent extent = extent_of(delta, from, x);
        for (Index r = 0; r < extent.rows; ++r) {
            const Real* x_row = row_of(x, r);
            const Real* s_row = derivative_needs_s(kind) ? row_of(s, r) : x_row;
            const Index step = derivative_needs_s(kind) ? s_step : x_step;
            Real* delta_row = row_of(delta, r);
            FASTBP_INDEPENDENT
            for (Index j = 0; j < extent.cols; ++j)
                delta_row[j * d_step] *= formulas::g_prime<kind>(s_row[j * step], x_row[j * x_step], g.a);
        }
    });
}

// (8): x_dot = g'(s) s_dot; the same product, out of place.
template <bool unit, class Real>
void activate_tangent(ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x, Matrix<const Real> s_dot,
                      Matrix<Real> x_dot) {
    const Index from = step_of<unit>(s_dot), to = step_of<unit>(x_dot);
    for (Index r = 0; r < x_dot.rows; ++r) {
        const Real* s_dot_row = row_of(s_dot, r);
        Real* x_dot_row = row_of(x_dot, r);
        FASTBP_INDEPENDENT
        for (Index j = 0; j < x_dot.cols; ++j) x_dot_row[j * to] = s_dot_row[j * from];
    }
    multiply_by_derivative<unit>(g, s, x, x_dot);
}

constexpr Index tangent_block = 64;  // numbers of a row that tangents process at a time, on the stack

// g'(s) and g''(s) of the n numbers of row r from `begin`. One loop for each activation serves all callers.
template <bool unit, class Real>
void derivatives(ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x, Index r, Index begin, Index n,
                 Real* prime, Real* second) {
    const Matrix<const Real> from = derivative_needs_s(g.kind) ? s : x;
    const Index s_step = step_of<unit>(from), x_step = step_of<unit>(x);
    const Real *s_row = row_of(from, r) + begin * s_step, *x_row = row_of(x, r) + begin * x_step;
    with_activation(g.kind, [=](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index j = 0; j < n; ++j) {
            const Real s_j = s_row[j * s_step], x_j = x_row[j * x_step];
            prime[j] = formulas::g_prime<kind>(s_j, x_j, g.a);
            second[j] = formulas::g_second<kind>(s_j, x_j, g.a);
        }
    });
}

// The same for softmax, which couples the columns of a row.
template <class Real>
void softmax_derivative_tangent_row(Matrix<const Real> x, Matrix<const Real> s_dot, Matrix<const Real> u,
                                    Matrix<Real> delta_dot, Index r) {
    const Index m = column_of_largest(row_of(x, r), x.col_stride, x.cols);
    formulas::SoftmaxTangent<Real> row{s_dot(r, m), u(r, m), delta_dot(r, m)};
    for (Index j = 0; j < x.cols; ++j) {
        row.mean_s += row.mean_s_term(x(r, j), s_dot(r, j));
        row.mean += row.mean_term(x(r, j), u(r, j));
    }
    for (Index j = 0; j < x.cols; ++j)
        row.mean_dot += row.mean_dot_term(x(r, j), s_dot(r, j), u(r, j), delta_dot(r, j));
    for (Index j = 0; j < x.cols; ++j) delta_dot(r, j) = row.delta_dot(x(r, j), s_dot(r, j), u(r, j), delta_dot(r, j));
}

// (10): delta_dot = g'(s) delta_dot + g''(s) s_dot u, where delta_dot enters holding u_dot.
template <bool unit, class Real>
void derivative_tangent(ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                        Matrix<const Real> s_dot, Matrix<const Real> u, Matrix<Real> delta_dot) {
    if (couples_columns(g.kind)) {
        for (Index r = 0; r < delta_dot.rows; ++r) softmax_derivative_tangent_row(x, s_dot, u, delta_dot, r);
        return;
    }
    Real prime[tangent_block], second[tangent_block];
    for (Index r = 0; r < delta_dot.rows; ++r)
        for (Index begin = 0; begin < delta_dot.cols; begin += tangent_block) {
            const Index n = delta_dot.cols - begin < tangent_block ? delta_dot.cols - begin : tangent_block;
            derivatives<unit>(g, s, x, r, begin, n, prime, second);
            for (Index j = 0; j < n; ++j) {
                Real& value = delta_dot(r, begin + j);
                value = prime[j] * value + second[j] * s_dot(r, begin + j) * u(r, begin + j);
            }
        }
}

}  // namespace
}  // namespace fastbp::loops
