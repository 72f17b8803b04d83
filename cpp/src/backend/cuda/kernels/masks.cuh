// Set rows and outputs of weight 0 to 0.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "seam/network.hpp"

namespace fastbp::cuda {

// is_masked of the seam, computed by a warp. All lanes get the same result.
__device__ inline bool is_masked_for_warp(const Matrix<const double>& c, Index row) {
    double weights = 0;  // how many are not 0
    each_column(c.cols, [&](Index j) { weights += c(row, j) != 0 ? 1 : 0; });
    return warp_sum(weights) == 0 && !c.empty();
}

template <class Real>
__global__ void clear_rows_of_matrix(Matrix<const double> c, Matrix<Real> m) {
    each_row(m.rows, [=](Index r) {
        if (is_masked_for_warp(c, r)) each_column(m.cols, [=](Index j) { m(r, j) = 0; });
    });
}

template <class Real>
__global__ void clear_elements(Matrix<const double> c, Matrix<Real> m) {
    each_element(m.rows, m.cols, [=](Index r, Index j) {
        if (c(r, c.cols == 1 ? 0 : j) == 0) m(r, j) = 0;
    });
}

}  // namespace fastbp::cuda
