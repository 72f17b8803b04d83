// Single examples between (4) and (5): the norms of their gradients, and scaling them. A row's gradient is the outer
// product of (x, 1) and delta, so its norm needs no more than theirs.
#pragma once

#include "backend/loops/activations.hpp"
#include "backend/loops/table.hpp"
#include "backend/loops/vectors.hpp"
#include "formulas/norms.hpp"

namespace fastbp::loops {
namespace {

// Rows are short, so eight are taken at a time: their sums run side by side, and their lanes are added up together.
constexpr Index rows_at_a_time = 8;

// Of rows n, .. of m, in float64, in which the squares of float32 are exact; behind the last row it is repeated.
template <class Real>
inline void row_squares(Matrix<const Real> m, Index n, double* out) {
    using Wide = Vectors<double>;
    const Real* row[rows_at_a_time];
    for (Index i = 0; i < rows_at_a_time; ++i) {
        row[i] = row_of(m, n + i < m.rows ? n + i : m.rows - 1);
        out[i] = 0;
    }
    if (m.col_stride != 1) {
        for (Index j = 0; j < m.cols; ++j)
            for (Index i = 0; i < rows_at_a_time; ++i) {
                const double v = double(row[i][j * m.col_stride]);
                out[i] += v * v;
            }
        return;
    }
    Wide::V sums[rows_at_a_time];
    for (Wide::V& sum : sums) sum = Wide::all(0);
    const auto add_squares = [&](Index j, auto... mask) {
#pragma GCC unroll 8
        for (Index i = 0; i < rows_at_a_time; ++i) {
            const Wide::V v = Wide::load(row[i] + j, mask...);
            sums[i] = Wide::multiply_add(v, v, sums[i]);
        }
    };
    Index j = 0;
    for (; j + Wide::lanes <= m.cols; j += Wide::lanes) add_squares(j);
    if (j < m.cols) add_squares(j, Wide::first(int(m.cols - j)));
#pragma GCC unroll 8
    for (Index i = 0; i < rows_at_a_time; i += Wide::lanes) Wide::store(out + i, lane_sums<double>(sums + i));
}

template <class Real>
inline void row_squares(const Csr<Real>& m, Index n, double* out) {
    for (Index i = 0; i < rows_at_a_time; ++i) {
        out[i] = 0;
        const Index r = (n + i < m.rows ? n + i : m.rows - 1);
        for (Index k = m.starts[r]; k < m.starts[r + 1]; ++k) out[i] += double(m.values[k]) * double(m.values[k]);
    }
}

template <class Real>
void gradient_squares(const Input<Real>& x, Matrix<const Real> delta, bool accumulate, Vector<double> squares) {
    for (Index n = 0; n < squares.size; n += rows_at_a_time) {
        double of_x[rows_at_a_time], of_delta[rows_at_a_time];
        if (x.csr == nullptr)
            row_squares(x.dense, n, of_x);
        else
            row_squares(*x.csr, n, of_x);
        row_squares(delta, n, of_delta);
        double* out = squares.data + n;
        for (Index i = 0; i < rows_at_a_time && n + i < squares.size; ++i)
            out[i] = (accumulate ? out[i] : 0.0) + (of_x[i] + 1) * of_delta[i];
    }
}

inline void example_norms(Vector<const double> squares, Vector<const double> c, double scale, double limit,
                          Vector<double> norm, Vector<double> factor) {
    for (Index n = 0; n < squares.size; ++n) {
        const double length = formulas::example_norm(squares.data[n], c.empty() ? scale : scale * c.data[n]);
        if (!norm.empty()) norm.data[n] = length;
        if (!factor.empty()) factor.data[n] = formulas::example_factor(length, limit);
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
