// Dropout. The mask is a function of the row and the unit.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "formulas/dropout.hpp"
#include "seam/network.hpp"

namespace fastbp::cuda {

// to may be from.
template <class Real>
__global__ void drop_elements(Dropout dropout, Matrix<const Real> from, Matrix<Real> to) {
    const auto k = formulas::dropout_numbers<Real>(dropout.keep, dropout.seed, *dropout.step, dropout.layer);
    each_element(
        to.rows, to.cols, [=](Index r, Index j) { return from(r, j); },
        [=](Index r, Index j, Real value) {
            to(r, j) =
                formulas::dropped(k, std::uint32_t(dropout.first_unit + j), std::uint32_t(dropout.rows[r]), value);
        });
}

}  // namespace fastbp::cuda
