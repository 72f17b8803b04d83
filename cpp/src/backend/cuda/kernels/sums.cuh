// Equation (6), penalties, norms, and the sum of partial gradients. Sums have two stages in a fixed order: each block
// writes its sum to the scratch memory in float64, and a small kernel adds these sums.
#pragma once

#include <span>

#include "backend/cuda/kernels/grid.cuh"
#include "formulas/norms.hpp"
#include "seam/network.hpp"

namespace fastbp::cuda {

// ---- (6) -----------------------------------------------------------------------------------------------------

template <class Real>
__device__ inline void put_column_sum(Blend<Real> k, double sum, Real& b) {
    b = kept(k.beta, b) + k.alpha * Real(sum);
}

// sums(chunk, j) = the sum of column j over the rows of a chunk. A block handles a chunk of rows and 32 columns. If
// there is only one chunk, the sum goes to b directly.
template <class Real>
__global__ void chunk_sums(Matrix<const Real> delta, Index chunk_rows, double* sums, BlendArgument<Real> blend,
                           Vector<Real> b) {
    __shared__ double of_warp[warps_per_block][warp_size];
    const Index j = Index(blockIdx.x) * warp_size + threadIdx.x;
    const Index begin = Index(blockIdx.y) * chunk_rows;
    const Index end = begin + chunk_rows < delta.rows ? begin + chunk_rows : delta.rows;
    double sum = 0;
    if (j < delta.cols)
        for (Index r = begin + threadIdx.y; r < end; r += warps_per_block) sum += double(delta(r, j));
    of_warp[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || j >= delta.cols) return;
    for (int w = 1; w < warps_per_block; ++w) sum += of_warp[w][threadIdx.x];
    if (gridDim.y == 1)
        put_column_sum(blend.read(), sum, b[j]);
    else
        sums[Index(blockIdx.y) * delta.cols + j] = sum;
}

template <class Real>
__global__ void add_chunks(const double* sums, Index chunks, BlendArgument<Real> blend, Vector<Real> b) {
    const Blend<Real> k = blend.read();
    each_number(b.size, [=](Index j) {
        double sum = 0;
        for (Index chunk = 0; chunk < chunks; ++chunk) sum += sums[chunk * b.size + j];
        put_column_sum(k, sum, b[j]);
    });
}

constexpr Index least_chunk = 64;     // rows
constexpr Index chunk_blocks = 1024;  // at most, so that the chunks of all columns fit into the scratch
constexpr Index columns_at_a_time = chunk_blocks * warp_size;
static_assert(columns_at_a_time <= Queue::scratch_size);

template <class Real>
void column_sums(Queue& queue, BlendArgument<Real> blend, Matrix<const Real> delta, Vector<Real> b) {
    for (Index begin = 0; begin < b.size; begin += columns_at_a_time) {
        const Index end = begin + columns_at_a_time < b.size ? begin + columns_at_a_time : b.size;
        const Index across = parts(end - begin, warp_size);
        const Index chunks = between(1, parts(delta.rows, least_chunk), chunk_blocks / across);
        queue.launch(chunk_sums<Real>, {dim3(unsigned(across), unsigned(chunks)), dim3(warp_size, warps_per_block)},
                     delta.column_block(begin, end), parts(delta.rows, chunks), queue.scratch, blend,
                     b.block(begin, end));
        if (chunks == 1) continue;
        queue.launch(add_chunks<Real>, over_numbers(end - begin), queue.scratch, chunks, blend, b.block(begin, end));
    }
}

// ---- sums of everything --------------------------------------------------------------------------------------

// *sum += scale (sum of the numbers in the scratch memory). A null scale is 1.
__global__ static void add_blocks(const double* of_block, Index blocks, const double* scale, double* sum) {
    double value = 0;
    each_number(blocks, [&](Index i) { value += of_block[i]; });
    value = block_sum(value);
    if (threadIdx.x == 0) *sum += scale == nullptr ? value : *scale * value;
}

inline void add_scratch(Queue& queue, Index blocks, const double* scale, double* sum) {
    queue.launch(add_blocks, {dim3(1), dim3(block_size)}, queue.scratch, blocks, scale, sum);
}

template <bool squares, class Real>
__global__ void block_sums(Vector<const Real> w, const double* largest, double* of_block) {
    const double scale = 1 / formulas::norm_unit(largest);
    double sum = 0;
    each_number(w.size, [&](Index i) {
        const double v = scale * double(w[i]);
        sum += squares ? v * v : formulas::magnitude(v);
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) of_block[blockIdx.x] = sum;
}

template <bool squares, class Real>
void sum_of(Queue& queue, Vector<const Real> w, const double* largest, double* out) {
    const Shape shape = over_numbers(w.size);
    queue.launch(block_sums<squares, Real>, shape, w, largest, queue.scratch);
    add_scratch(queue, shape.grid.x, nullptr, out);
}

__global__ static void one_clip_factor(const double* squares, const double* largest, double limit, double* factor) {
    *factor = formulas::clip_factor(*squares, formulas::norm_unit(largest), limit);
}

// ---- elementwise ---------------------------------------------------------------------------------------------

template <class Real>
__global__ void copy_elements(Matrix<const Real> from, Matrix<Real> to) {
    each_element(
        to.rows, to.cols, [=](Index r, Index j) { return from(r, j); },
        [=](Index r, Index j, Real value) { to(r, j) = value; });
}

template <class Real>
__global__ void add_elements(Matrix<const Real> from, Matrix<Real> to) {
    each_element(
        to.rows, to.cols, [=](Index r, Index j) { return to(r, j) + from(r, j); },
        [=](Index r, Index j, Real sum) { to(r, j) = sum; });
}

template <class Real>
__global__ void penalty_elements(Real l2, Real l1, Vector<const Real> w, Vector<Real> grad) {
    each_number(grad.size, [=](Index i) { grad[i] += formulas::penalty_slope(w[i], l2, l1); });
}

// ---- partial gradients ---------------------------------------------------------------------------------------

// The partial gradients as an argument of a kernel, and the tree in which they are added, halves first. After partial k
// the last two sums are added joins[k] times.
template <class Real>
struct PartialPointers {
    static constexpr int most = 64, most_halvings = 6;
    const Real* of[most];
    std::int8_t joins[most];
    int count;

    explicit PartialPointers(std::span<const Vector<const Real>> partials)
        : of{}, joins{}, count(int(partials.size())) {
        assert(count <= most);
        for (int k = 0; k < count; ++k) of[k] = partials[std::size_t(k)].data;
        plan(0, count);
    }
    __device__ Real sum(Index i) const {
        if (count == 1) return of[0][i];
        Real sums[most_halvings + 1];
        int last = -1;
#pragma unroll 1
        for (int k = 0; k < count; ++k) {
            sums[++last] = of[k][i];
#pragma unroll 1
            for (int join = 0; join < joins[k]; ++join, --last) sums[last - 1] += sums[last];
        }
        return sums[0];
    }

  private:
    void plan(int first, int n) {
        if (n < 2) return;
        plan(first, n / 2);
        plan(first + n / 2, n - n / 2);
        ++joins[first + n - 1];
    }
};

template <class Real>
__global__ void reduce_elements(PartialPointers<Real> partials, Real beta, Vector<Real> out) {
    each_number(out.size, [&](Index i) { out[i] = kept(beta, out[i]) + partials.sum(i); });
}

}  // namespace fastbp::cuda
