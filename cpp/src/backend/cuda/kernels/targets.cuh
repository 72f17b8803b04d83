// Check targets and sum weights in device memory, before a pass.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "backend/cuda/kernels/rows.cuh"
#include "seam/number_rule.hpp"

namespace fastbp::cuda {

__device__ inline double number_of(const RowSource& source, Index row, Index col) {
    return number_at<double>(source.type, source.data + row * source.row_stride + col * source.col_stride);
}

// Counts the numbers and the sums of rows, of each block, that break the rule.
__global__ static void count_block_misfits(RowSource numbers, NumberRule rule, double* of_block) {
    double misfits = 0;
    each_number(numbers.rows, [&](Index i) {
        double sum = 0;
        for (Index j = 0; j < numbers.cols; ++j) {
            const double value = number_of(numbers, i, j);
            sum += value;
            if (!rule.fits(value)) ++misfits;
        }
        if (rule.rows_sum_to_one && !rule.sum_fits(sum)) ++misfits;
    });
    misfits = block_sum(misfits);
    if (threadIdx.x == 0) of_block[blockIdx.x] = misfits;
}

// A block sums the weights of one mini-batch.
__global__ static void sum_batches(RowSource c, RowRange rows, Index batch, double* sums) {
    const Index begin = Index(blockIdx.x) * batch;
    const Index count = between(0, rows.count - begin, batch);
    double sum = 0;
    for (Index k = threadIdx.x; k < count * c.cols; k += block_size)
        sum += number_of(c, rows[begin + k / c.cols], k % c.cols);
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum / double(c.cols);
}

}  // namespace fastbp::cuda
