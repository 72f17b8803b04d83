// Single examples between (4) and (5): the norms of their gradients, and scaling them. A row's gradient is the outer
// product of (x, 1) and delta, so its norm needs no more than theirs.
#pragma once

#include <cstring>

#include "backend/loops/activations.hpp"
#include "backend/loops/table.hpp"
#include "formulas/norms.hpp"

namespace fastbp::loops {
namespace {

// Rows are short, so four are taken at a time: adding up the lanes of four sums costs little more than of one.
constexpr Index rows_at_a_time = 4;
typedef double EightSums __attribute__((vector_size(8 * sizeof(double))));

template <class Real>
inline void add_squares(const Real* eight, EightSums& sums) {
    typedef Real Eight __attribute__((vector_size(8 * sizeof(Real))));
    Eight v;
    std::memcpy(&v, eight, sizeof v);
    const EightSums wide = __builtin_convertvector(v, EightSums);
    sums += wide * wide;
}

// out[i] += the sum of all lanes of sums[i].
inline void add_lanes(const EightSums (&sums)[rows_at_a_time], double* out) {
    const auto pairs = [](const EightSums& a, const EightSums& b, EightSums& ab) {
        ab = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14) +
             __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    };
    EightSums ab, cd;
    pairs(sums[0], sums[1], ab);
    pairs(sums[2], sums[3], cd);
    const EightSums abcd = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                           __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    for (int i = 0; i < rows_at_a_time; ++i) out[i] += abcd[i] + abcd[i + rows_at_a_time];
}

// Of rows n, .. of m, in float64; behind the last row it is repeated.
template <class Real>
inline void row_squares(Matrix<const Real> m, Index n, double* out) {
    const Real* row[rows_at_a_time];
    for (Index i = 0; i < rows_at_a_time; ++i) {
        row[i] = m.data + (n + i < m.rows ? n + i : m.rows - 1) * m.row_stride;
        out[i] = 0;
    }
    Index j = 0;
    if (m.col_stride == 1) {
        EightSums sums[rows_at_a_time] = {};
        for (; j + 8 <= m.cols; j += 8)
            for (Index i = 0; i < rows_at_a_time; ++i) add_squares(row[i] + j, sums[i]);
        if (j > 0) add_lanes(sums, out);
    }
    for (; j < m.cols; ++j)
        for (Index i = 0; i < rows_at_a_time; ++i) {
            const double v = double(row[i][j * m.col_stride]);
            out[i] += v * v;
        }
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
