// Between (4) and (5): the norm of each row's gradient, and scaling of rows. A row's gradient is the outer product of
// (x, 1) and delta, so its norm is the product of their norms.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "formulas/norms.hpp"
#include "seam/network.hpp"

namespace fastbp::cuda {

// The sum of the squares of a row. All lanes get the same result.
template <class Real>
__device__ inline double row_squares(Matrix<const Real> m, Index r) {
    double sum = 0;
    each_column(m.cols, [&](Index j) { sum += double(m(r, j)) * double(m(r, j)); });
    return warp_sum(sum);
}

template <class Real>
__global__ void gradient_squares_rows(Matrix<const Real> x, Matrix<const Real> delta, bool accumulate,
                                      Vector<double> squares) {
    each_row(squares.size, [=](Index n) {
        const double own = (row_squares(x, n) + 1) * row_squares(delta, n);
        if (lane() == 0) squares[n] = accumulate ? squares[n] + own : own;
    });
}

// Either result may be empty, or the same memory as `squares`.
__global__ static void example_norm_elements(Vector<const double> squares, Vector<const double> c, const double* scale,
                                             double limit, Vector<double> norm, Vector<double> factor) {
    each_number(squares.size, [=](Index n) {
        const double length = formulas::example_norm(squares[n], c.empty() ? *scale : *scale * c[n]);
        if (!norm.empty()) norm[n] = length;
        if (!factor.empty()) factor[n] = formulas::example_factor(length, limit);
    });
}

template <class Real>
__global__ void scale_row_elements(Vector<const double> factor, Matrix<Real> m) {
    each_element(m.rows, m.cols,
                 [=](Index r, Index j) { m(r, j) = factor[r] == 0 ? Real(0) : Real(double(m(r, j)) * factor[r]); });
}

}  // namespace fastbp::cuda
