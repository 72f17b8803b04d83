// Products with compressed rows. No pass asks for them here, where load_rows makes such rows dense.
#pragma once

#include "backend/cuda/kernels/sums.cuh"

namespace fastbp::cuda {

template <class Real>
__global__ void sparse_gemm_rows(Csr<Real> a, Matrix<const Real> b, BlendArgument<Real> blend, Matrix<Real> c) {
    const Blend<Real> k = blend.read();
    each_element(c.rows, c.cols, [=](Index i, Index j) {
        Real sum = 0;
#pragma unroll 1
        for (Index at = a.starts[i]; at < a.starts[i + 1]; ++at) sum += a.values[at] * b(a.columns[at], j);
        c(i, j) = kept(k.beta, c(i, j)) + k.alpha * sum;
    });
}

// A thread owns a column of c, and adds to it in the order of the rows of a.
template <class Real>
__global__ void sparse_gemm_transposed_columns(Csr<Real> a, Matrix<const Real> b, BlendArgument<Real> blend,
                                               Matrix<Real> c) {
    const Blend<Real> k = blend.read();
    each_number(c.cols, [=](Index j) {
        for (Index i = 0; i < c.rows; ++i) c(i, j) = kept(k.beta, c(i, j));
        for (Index r = 0; r < a.rows; ++r)
#pragma unroll 1
            for (Index at = a.starts[r]; at < a.starts[r + 1]; ++at)
                c(a.columns[at], j) += k.alpha * a.values[at] * b(r, j);
    });
}

}  // namespace fastbp::cuda
