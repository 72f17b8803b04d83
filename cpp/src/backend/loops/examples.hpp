// Single examples between (4) and (5): the norms of their gradients, and scaling them. A row's gradient is the outer
// product of (x, 1) and delta, so its norm needs no more than theirs.
#pragma once

#include <cmath>

#include "backend/loops/activations.hpp"
#include "backend/loops/table.hpp"

namespace fastbp::loops {
namespace {

// Of `count` numbers that lie `step` apart, in float64.
template <class Real>
double sum_of_squares_of(const Real* v, Index count, Index step) {
    if (step == 1) return lane_sum<double>(count, [=](Index j) { return double(v[j]) * double(v[j]); });
    return lane_sum<double>(count, [=](Index j) { return double(v[j * step]) * double(v[j * step]); });
}

template <class Real>
double row_squares(const Input<Real>& x, Index n) {
    if (x.csr == nullptr)
        return sum_of_squares_of(x.dense.data + n * x.dense.row_stride, x.dense.cols, x.dense.col_stride);
    const Index begin = x.csr->starts[n];
    return sum_of_squares_of(x.csr->values + begin, x.csr->starts[n + 1] - begin, Index(1));
}

template <class Real>
void gradient_squares(const Input<Real>& x, Matrix<const Real> delta, bool accumulate, Vector<double> squares) {
    for (Index n = 0; n < squares.size; ++n) {
        const double of_delta = sum_of_squares_of(delta.data + n * delta.row_stride, delta.cols, delta.col_stride);
        squares.data[n] = (accumulate ? squares.data[n] : 0.0) + (row_squares(x, n) + 1) * of_delta;
    }
}

inline void example_norms(Vector<const double> squares, Vector<const double> c, double scale, double limit,
                          Vector<double> norm, Vector<double> factor) {
    for (Index n = 0; n < squares.size; ++n) {
        const double weight = std::abs(c.empty() ? scale : scale * c.data[n]);
        const double length = weight == 0 ? 0.0 : std::sqrt(squares.data[n]) / weight;
        if (!norm.empty()) norm.data[n] = length;
        if (!factor.empty()) factor.data[n] = length > limit ? limit / length : 1.0;
    }
}

template <bool unit, class Real>
void scale_rows(Vector<const double> factor, Matrix<Real> m) {
    const Index step = step_of<unit>(m);
    for (Index r = 0; r < m.rows; ++r) {
        Real* row = row_of(m, r);
        for (Index j = 0; j < m.cols; ++j) row[j * step] = Real(double(row[j * step]) * factor.data[r]);
    }
}

}  // namespace
}  // namespace fastbp::loops
