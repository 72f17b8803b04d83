// Kernels for products beside cuBLASLt: they round factors to bfloat16, and compute beta c if the inner dimension is 0.
#pragma once

#include <bit>
#include <cstdint>

#include "backend/cuda/kernels/grid.cuh"

namespace fastbp::cuda {

// Rounds to the nearest, ties to even. NaN stays NaN even if its upper half is that of infinity.
__device__ inline std::uint16_t rounded_to_bf16(float number) {
    const auto bits = std::bit_cast<std::uint32_t>(number);
    if ((bits & 0x7fffffffU) > 0x7f800000U) return std::uint16_t(bits >> 16 | 0x40U);
    return std::uint16_t((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

__global__ static void round_elements_to_bf16(Matrix<const float> from, Matrix<std::uint16_t> to) {
    each_element(to.rows, to.cols, [=](Index r, Index j) { to(r, j) = rounded_to_bf16(from(r, j)); });
}

// c = beta c.
template <class Real>
__global__ void scale_elements(BlendArgument<Real> blend, Matrix<Real> c) {
    const Real beta = blend.read().beta;
    each_element(c.rows, c.cols, [=](Index r, Index j) { c(r, j) = kept(beta, c(r, j)); });
}

}  // namespace fastbp::cuda
