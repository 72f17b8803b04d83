// Equation (6), penalties, and the sum of partial gradients in a fixed tree.
#pragma once

#include "backend/loops/activations.hpp"
#include "backend/loops/table.hpp"
#include "formulas/norms.hpp"

namespace fastbp::loops {
namespace {

constexpr Index block_size = 256;  // numbers that are summed at a time, on the stack

// Four rows are added in their own type, as a tree, and the result in float64. This saves three of four conversions.
template <bool unit, class Real>
void column_sums(Real alpha, Matrix<const Real> delta, Real beta, Vector<Real> b) {
    const Index step = step_of<unit>(delta);
    for (Index begin = 0; begin < delta.cols; begin += block_size) {
        const Index n = delta.cols - begin < block_size ? delta.cols - begin : block_size;
        double sum[block_size];
        for (Index j = 0; j < n; ++j) sum[j] = 0;
        Index r = 0;
        for (; r + 4 <= delta.rows; r += 4) {
            const Real* row[4];
            for (Index i = 0; i < 4; ++i) row[i] = row_of(delta, r + i) + begin * step;
            for (Index j = 0; j < n; ++j)
                sum[j] += double((row[0][j * step] + row[1][j * step]) + (row[2][j * step] + row[3][j * step]));
        }
        for (; r < delta.rows; ++r) {
            const Real* row = row_of(delta, r) + begin * step;
            for (Index j = 0; j < n; ++j) sum[j] += double(row[j * step]);
        }
        Real* out = b.data + begin;
        for (Index j = 0; j < n; ++j) out[j] = formulas::kept(beta, out[j]) + alpha * Real(sum[j]);
    }
}

template <class Real>
void copy(Matrix<const Real> from, Matrix<Real> to) {
    for (Index r = 0; r < to.rows; ++r)
        for (Index j = 0; j < to.cols; ++j) to(r, j) = from(r, j);
}

template <bool unit, class Real>
void add(Matrix<const Real> from, Matrix<Real> to) {
    const Index from_step = step_of<unit>(from), to_step = step_of<unit>(to);
    for (Index r = 0; r < to.rows; ++r) {
        const Real* from_row = row_of(from, r);
        Real* to_row = row_of(to, r);
        FASTBP_INDEPENDENT
        for (Index j = 0; j < to.cols; ++j) to_row[j * to_step] += from_row[j * from_step];
    }
}

// out = partials[0] + .. + partials[count - 1] of one block, halves first. The tree depends on the count only.
template <class Real>
void tree_sum(const Vector<const Real>* partials, Index count, Index begin, Index n, Real* out) {
    if (count == 1) {
        for (Index i = 0; i < n; ++i) out[i] = partials[0].data[begin + i];
        return;
    }
    Real upper[block_size];
    tree_sum(partials, count / 2, begin, n, out);
    tree_sum(partials + count / 2, count - count / 2, begin, n, upper);
    for (Index i = 0; i < n; ++i) out[i] += upper[i];
}

// Calls body(begin, n, sums) for each block of the summed partials. A single partial is not copied.
template <class Real, class Body>
inline void for_each_sum(Partials<Real> partials, Index size, Body body) {
    const Index count = Index(partials.size());
    if (count == 1) return body(Index(0), size, partials.data()[0].data);
    Real sums[block_size];
    for (Index begin = 0; begin < size; begin += block_size) {
        const Index n = size - begin < block_size ? size - begin : block_size;
        tree_sum(partials.data(), count, begin, n, sums);
        body(begin, n, static_cast<const Real*>(sums));
    }
}

template <class Real>
void reduce(Partials<Real> partials, Real beta, Vector<Real> out) {
    for_each_sum<Real>(partials, out.size, [=](Index begin, Index n, const Real* sums) {
        Real* to = out.data + begin;
        for (Index i = 0; i < n; ++i) to[i] = formulas::kept(beta, to[i]) + sums[i];
    });
}

template <class Real>
void add_penalty(double l2, double l1, Vector<const Real> w, Vector<Real> grad) {
    const Real square = Real(l2), magnitude = Real(l1);
    FASTBP_INDEPENDENT
    for (Index i = 0; i < grad.size; ++i) grad.data[i] += formulas::penalty_slope(w.data[i], square, magnitude);
}

template <class Real>
void sum_of_squares(Vector<const Real> w, double unit, double* out) {
    const Real* v = w.data;
    if (unit == 1) {
        *out += lane_sum<double>(w.size, [=](Index i) { return double(v[i]) * double(v[i]); });
    } else {
        const double scale = 1 / unit;
        *out += lane_sum<double>(w.size, [=](Index i) { return scale * double(v[i]) * (scale * double(v[i])); });
    }
}

template <class Real>
void sum_of_magnitudes(Vector<const Real> w, double* out) {
    const Real* v = w.data;
    *out += lane_sum<double>(w.size, [=](Index i) { return v[i] < 0 ? -double(v[i]) : double(v[i]); });
}

}  // namespace
}  // namespace fastbp::loops
