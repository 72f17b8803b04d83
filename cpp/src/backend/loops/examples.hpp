// Between (4) and (5): the norm of each row's gradient, and scaling of rows. A row's gradient is the outer product of
// (x, 1) and delta, so its norm is the product of their norms.
#pragma once

#include "backend/loops/row_folds.hpp"
#include "backend/loops/table.hpp"
#include "formulas/norms.hpp"

namespace fastbp::loops {
namespace {

// The squares of rows n, .. of m, in float64, where the square of a float32 number is exact.
template <bool unit, class Real>
inline void row_squares(Matrix<const Real> m, Index n, Index rows, double* out) {
    using S = Vectors<double>;
    const auto squares = [=](Index i, Index j, Index count) {
        const auto part = load_part<unit, double>(m, n + i, j, count, S::all(0));
        return S::multiply(part, part);
    };
    fold_rows<double>(rows, m.cols, squares, std::plus<>(), out);
}

template <class Real>
inline void row_squares(Matrix<const Real> m, Index n, Index rows, double* out) {
    return m.col_stride == 1 ? row_squares<true>(m, n, rows, out) : row_squares<false>(m, n, rows, out);
}

template <class Real>
inline void row_squares(const Csr<Real>& m, Index n, Index rows, double* out) {
    for (Index i = 0; i < rows; ++i) {
        out[i] = 0;
        for (Index k = m.starts[n + i]; k < m.starts[n + i + 1]; ++k)
            out[i] += double(m.values[k]) * double(m.values[k]);
    }
}

template <class Real>
void gradient_squares(const Input<Real>& x, Matrix<const Real> delta, bool accumulate, Vector<double> squares) {
    for (Index n = 0; n < squares.size; n += rows_at_a_time) {
        const Index rows = squares.size - n < rows_at_a_time ? squares.size - n : rows_at_a_time;
        double of_x[rows_at_a_time], of_delta[rows_at_a_time];
        if (x.csr == nullptr)
            row_squares(x.dense, n, rows, of_x);
        else
            row_squares(*x.csr, n, rows, of_x);
        row_squares(delta, n, rows, of_delta);
        double* out = squares.data + n;
        for (Index i = 0; i < rows; ++i) out[i] = (accumulate ? out[i] : 0.0) + (of_x[i] + 1) * of_delta[i];
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
        const double f = factor.data[r];
        if (f == 0)
            for (Index j = 0; j < m.cols; ++j) row[j * step] = 0;
        else
            for (Index j = 0; j < m.cols; ++j) row[j * step] = Real(double(row[j * step]) * f);
    }
}

}  // namespace
}  // namespace fastbp::loops
