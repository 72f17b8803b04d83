// Loops of kernels over views. Each thread handles an element, or each warp a row, and then those at the distance of a
// whole grid. The grid depends on sizes only.
#pragma once

#include <cmath>

#include "backend/cuda/runtime.hpp"
#include "formulas/blend.hpp"
#include "seam/network.hpp"

namespace fastbp::cuda {

constexpr int warp_size = 32, warps_per_block = 8, block_size = warp_size * warps_per_block;
constexpr unsigned whole_warp = 0xffffffffU;
constexpr Index most_blocks = 1024;  // about as many as a large device runs at the same time

constexpr Index parts(Index whole, Index part) { return (whole + part - 1) / part; }
constexpr Index between(Index low, Index n, Index high) { return n < low ? low : n > high ? high : n; }

// ---- shapes of launches ---------------------------------------------------------------------------------------

inline Shape over_numbers(Index n) {
    return {dim3(unsigned(between(1, parts(n, block_size), most_blocks))), dim3(block_size)};
}

// One warp for each row.
inline Shape over_rows(Index rows) {
    return {dim3(unsigned(between(1, parts(rows, warps_per_block), most_blocks))), dim3(warp_size, warps_per_block)};
}

// Neighbouring threads handle neighbouring columns. If there are few columns, a block has more rows.
inline Shape over_elements(Index rows, Index cols) {
    unsigned across = 1;
    while (across < block_size && across < cols) across *= 2;
    const Index x = between(1, parts(cols, across), most_blocks);
    const Index y = between(1, parts(rows, block_size / across), most_blocks / x);
    return {dim3(unsigned(x), unsigned(y)), dim3(across, block_size / across)};
}

template <class T>
Shape over_elements(const Matrix<T>& m) {
    return over_elements(m.rows, m.cols);
}

template <class T>
bool without_gaps(const Matrix<T>& m) {
    return m.empty() || (m.col_stride == 1 && (m.rows == 1 || m.row_stride == m.cols));
}

// Brings the views of an elementwise operation into a simple form: transposes them if the row stride is 1, and treats
// them as one row if none has gaps.
template <class First, class... Others>
void straighten(Matrix<First>& m, Matrix<Others>&... others) {
    if (m.col_stride != 1 && m.row_stride == 1) {
        m = m.transposed();
        ((others = others.transposed()), ...);
    }
    if (!(without_gaps(m) && (without_gaps(others) && ...))) return;
    const Index n = m.rows * m.cols;
    m = {m.data, 1, n, n, 1};
    ((others = {others.data, 1, n, n, 1}), ...);
}

// ---- loops ----------------------------------------------------------------------------------------------------

// Loops are not unrolled: other threads hide the latency, and the code for seven GPU generations must stay small.

// Calls body(i).
template <class Body>
__device__ inline void each_number(Index n, Body body) {
    const Index threads = Index(gridDim.x) * blockDim.x;
#pragma unroll 1
    for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += threads) body(i);
}

// Calls body(r, j).
template <class Body>
__device__ inline void each_element(Index rows, Index cols, Body body) {
    const Index across = Index(gridDim.x) * blockDim.x, down = Index(gridDim.y) * blockDim.y;
#pragma unroll 1
    for (Index r = Index(blockIdx.y) * blockDim.y + threadIdx.y; r < rows; r += down)
#pragma unroll 1
        for (Index j = Index(blockIdx.x) * blockDim.x + threadIdx.x; j < cols; j += across) body(r, j);
}

// Calls finish(r, j, load(r, j)) for every element. A thread loads several elements before it finishes the first one,
// to hide the latency of memory.
template <class Load, class Finish>
__device__ inline void each_element(Index rows, Index cols, Load load, Finish finish) {
    using Loaded = decltype(load(rows, cols));
    constexpr int at_a_time = sizeof(Loaded) > 4 ? 2 : 4;
    const Index across = Index(gridDim.x) * blockDim.x, down = Index(gridDim.y) * blockDim.y;
    const Index next_row = rows > 1 ? down : 0, next_col = rows > 1 ? 0 : across;
#pragma unroll 1
    for (Index r = Index(blockIdx.y) * blockDim.y + threadIdx.y; r < rows; r += down + (at_a_time - 1) * next_row)
#pragma unroll 1
        for (Index j = Index(blockIdx.x) * blockDim.x + threadIdx.x; j < cols;
             j += across + (at_a_time - 1) * next_col) {
            Loaded loaded[at_a_time] = {};
            const auto within = [=](int k) { return r + k * next_row < rows && j + k * next_col < cols; };
            for (int k = 0; k < at_a_time; ++k)
                if (within(k)) loaded[k] = load(r + k * next_row, j + k * next_col);
            for (int k = 0; k < at_a_time; ++k)
                if (within(k)) finish(r + k * next_row, j + k * next_col, loaded[k]);
        }
}

// Calls body(r) in all lanes of a warp.
template <class Body>
__device__ inline void each_row(Index rows, Body body) {
    const Index warps = Index(gridDim.x) * warps_per_block;
#pragma unroll 1
    for (Index r = Index(blockIdx.x) * warps_per_block + threadIdx.y; r < rows; r += warps) body(r);
}

__device__ inline Index lane() { return threadIdx.x % warp_size; }

// Calls body(j) for the columns that a lane handles in its warp's row.
template <class Body>
__device__ inline void each_column(Index cols, Body body) {
#pragma unroll 1
    for (Index j = lane(); j < cols; j += warp_size) body(j);
}

// ---- sums ----------------------------------------------------------------------------------------------------

// The sum over the lanes. All lanes get the same bits.
template <class T>
__device__ inline T warp_sum(T value) {
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(whole_warp, value, distance);
    return value;
}

// The largest value of all threads of a block. The first thread gets the result. No value may be NaN.
__device__ inline double block_maximum(double value) {
    __shared__ double of_warp[warps_per_block];
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int distance = warp_size / 2; distance > 0; distance /= 2)
        value = ::fmax(value, __shfl_xor_sync(whole_warp, value, distance));
    if (thread % warp_size == 0) of_warp[thread / warp_size] = value;
    __syncthreads();
    if (thread == 0)
        for (int w = 1; w < warps_per_block; ++w) value = ::fmax(value, of_warp[w]);
    return value;
}

// The sum over all threads of a block. The first thread gets the result.
__device__ inline double block_sum(double value) {
    __shared__ double of_warp[warps_per_block];
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    value = warp_sum(value);
    if (thread % warp_size == 0) of_warp[thread / warp_size] = value;
    __syncthreads();
    if (thread == 0)
        for (int w = 1; w < warps_per_block; ++w) value += of_warp[w];
    return value;
}

using formulas::kept;

// A blend whose numbers the host knows, or one in device memory that the kernel reads.
template <class Real>
struct BlendArgument {
    Blend<Real> value = {};
    const Blend<Real>* on_device = nullptr;

    __device__ Blend<Real> read() const { return on_device == nullptr ? value : *on_device; }
};

}  // namespace fastbp::cuda
