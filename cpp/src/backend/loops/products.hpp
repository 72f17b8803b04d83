// Matrix products as plain loops, used without a BLAS and as the reference of tests.
#pragma once

#include "backend/loops/blocks.hpp"

namespace fastbp::loops {
namespace {

// c = beta c. If beta is 0, c becomes 0 even if it holds NaN.
template <class Real>
inline void scale_row(Real beta, Real* row, Index step, Index n) {
    if (beta == 1) return;
    for (Index j = 0; j < n; ++j) row[j * step] = formulas::kept(beta, row[j * step]);
}

// row += factor * other
template <bool unit, class Real>
inline void add_row(Real factor, const Real* other, Index other_step, Real* row, Index step, Index n) {
    FASTBP_INDEPENDENT
    for (Index j = 0; j < n; ++j) row[unit ? j : j * step] += factor * other[unit ? j : j * other_step];
}

template <class Real>
void gemm(Real alpha, Matrix<const Real> a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    if (c.col_stride != 1 && c.row_stride == 1)  // the same product of the transposed views has unit columns
        return gemm<Real>(alpha, b.transposed(), a.transposed(), beta, c.transposed());
    const bool unit = b.col_stride == 1 && c.col_stride == 1;
    for (Index i = 0; i < c.rows; ++i) {
        Real* row = row_of(c, i);
        scale_row(beta, row, c.col_stride, c.cols);
        for (Index k = 0; k < a.cols; ++k) {
            const Real factor = alpha * a(i, k);
            if (unit)
                add_row<true>(factor, row_of(b, k), 1, row, 1, c.cols);
            else
                add_row<false>(factor, row_of(b, k), b.col_stride, row, c.col_stride, c.cols);
        }
    }
}

template <bool unit, class Real>
inline void add_sparse_rows(Real alpha, const Csr<Real>& a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    for (Index i = 0; i < c.rows; ++i) {
        Real* row = row_of(c, i);
        scale_row(beta, row, c.col_stride, c.cols);
        for (Index k = a.starts[i]; k < a.starts[i + 1]; ++k)
            add_row<unit>(alpha * a.values[k], row_of(b, a.columns[k]), b.col_stride, row, c.col_stride, c.cols);
    }
}

template <bool unit, class Real>
inline void add_sparse_columns(Real alpha, const Csr<Real>& a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    for (Index i = 0; i < c.rows; ++i) scale_row(beta, row_of(c, i), c.col_stride, c.cols);
    for (Index i = 0; i < a.rows; ++i)
        for (Index k = a.starts[i]; k < a.starts[i + 1]; ++k)
            add_row<unit>(alpha * a.values[k], row_of(b, i), b.col_stride, row_of(c, a.columns[k]), c.col_stride,
                          c.cols);
}

// Products with any strides, because w is transposed in nets with weights_by_outputs: b here, c in the gradient. In the
// table for unit strides, `unit` selects a faster loop for products whose strides are all 1.
template <bool unit, class Real>
void sparse_gemm(Real alpha, const Csr<Real>& a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    if (unit && b.col_stride == 1 && c.col_stride == 1) return add_sparse_rows<true>(alpha, a, b, beta, c);
    add_sparse_rows<false>(alpha, a, b, beta, c);
}

template <bool unit, class Real>
void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, Matrix<const Real> b, Real beta, Matrix<Real> c) {
    if (unit && b.col_stride == 1 && c.col_stride == 1) return add_sparse_columns<true>(alpha, a, b, beta, c);
    add_sparse_columns<false>(alpha, a, b, beta, c);
}

}  // namespace
}  // namespace fastbp::loops
