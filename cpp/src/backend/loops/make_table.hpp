// Fills a table with the loops of this folder, compiled as the including unit is.
#pragma once

#include "backend/loops/blocked_products.hpp"
#include "backend/loops/dropout.hpp"
#include "backend/loops/examples.hpp"
#include "backend/loops/losses.hpp"
#include "backend/loops/magnitudes.hpp"
#include "backend/loops/updates.hpp"

namespace fastbp::loops {
namespace {

template <bool unit, class Real>
constexpr LoopTable<Real> make_table() {
    constexpr bool tiles = unit && has_tiles<Real>;
    return {
        .gemm = tiles ? blocked_gemm<Real> : gemm<Real>,
        .faster_than_blas = unit ? faster_than_blas<Real> : nullptr,
        .finishes_in_registers = unit ? finishes_in_registers<Real> : nullptr,
        .gemm_with_relu = tiles ? gemm_with_relu<Real> : nullptr,
        .gemm_with_relu_prime = tiles ? gemm_with_relu_prime<Real> : nullptr,
        .sparse_gemm = sparse_gemm<unit, Real>,
        .sparse_gemm_transposed = sparse_gemm_transposed<unit, Real>,
        .activate = activate<unit, Real>,
        .multiply_by_derivative = multiply_by_derivative<unit, Real>,
        .output_delta = output_delta<unit, Real>,
        .drop = drop<unit, Real>,
        .activate_tangent = activate_tangent<unit, Real>,
        .derivative_tangent = derivative_tangent<unit, Real>,
        .output_delta_tangent = output_delta_tangent<unit, Real>,
        .column_sums = column_sums<unit, Real>,
        .gradient_squares = gradient_squares<Real>,
        .example_norms = example_norms,
        .scale_rows = scale_rows<unit, Real>,
        .copy = copy<Real>,
        .add = add<unit, Real>,
        .reduce = reduce<Real>,
        .add_penalty = add_penalty<Real>,
        .sum_of_squares = sum_of_squares<Real>,
        .sum_of_magnitudes = sum_of_magnitudes<Real>,
        .largest_magnitude = largest_magnitude<Real>,
        .largest_magnitudes = largest_magnitudes<Real>,
        .find_larger = find_larger<Real>,
        .update = update<Real>,
    };
}

}  // namespace
}  // namespace fastbp::loops
