// Find numbers that are not finite or too large: each block writes its maximum to the scratch memory, and a small
// kernel combines the maxima.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "formulas/elementary.hpp"
#include "formulas/step_numbers.hpp"

namespace fastbp::cuda {

// The magnitude of a number; inf for nan.
template <class Real>
__device__ inline double magnitude_or_inf(Real v) {
    const double magnitude = formulas::magnitude(double(v));
    return magnitude < HUGE_VAL ? magnitude : HUGE_VAL;
}

template <class Real>
__global__ void block_maxima(Matrix<const Real> m, double* of_block) {
    double largest = 0;
    each_number(m.rows * m.cols,
                [&](Index i) { largest = ::fmax(largest, magnitude_or_inf(m(i / m.cols, i % m.cols))); });
    largest = block_maximum(largest);
    if (threadIdx.x == 0) of_block[blockIdx.x] = largest;
}

template <class Real>
__global__ void last_places(Vector<const Real> v, double limit, double* of_block) {
    double last = -1;
    each_number(v.size, [&](Index i) {
        if (magnitude_or_inf(v[i]) > limit) last = double(i);
    });
    last = block_maximum(last);
    if (threadIdx.x == 0) of_block[blockIdx.x] = last;
}

// The result is valid in the first thread of the only block.
__device__ inline double joined_maxima(const double* of_block, Index blocks) {
    double largest = -1;
    each_number(blocks, [&](Index i) { largest = ::fmax(largest, of_block[i]); });
    return block_maximum(largest);
}

__global__ static void join_magnitudes(const double* of_block, Index blocks, double* out) {
    const double largest = joined_maxima(of_block, blocks);
    if (threadIdx.x == 0) *out = ::fmax(*out, largest);
}

__global__ static void join_places(const double* of_block, Index blocks, Index* place) {
    const double last = joined_maxima(of_block, blocks);
    if (threadIdx.x == 0) *place = Index(last);
}

template <class Real>
void largest_magnitude(Queue& queue, Matrix<const Real> m, double* out) {
    const Shape shape = over_numbers(m.rows * m.cols);
    queue.launch(block_maxima<Real>, shape, m, queue.scratch);
    queue.launch(join_magnitudes, {dim3(1), dim3(block_size)}, queue.scratch, Index(shape.grid.x), out);
}

template <class Real>
void find_larger(Queue& queue, Vector<const Real> v, double limit, Index* place) {
    const Shape shape = over_numbers(v.size);
    queue.launch(last_places<Real>, shape, v, limit, queue.scratch);
    queue.launch(join_places, {dim3(1), dim3(block_size)}, queue.scratch, Index(shape.grid.x), place);
}

template <class Real>
__global__ void note_one_gradient(Vector<const Real> gradient, const Index* place, const Index* entry, Ledger* ledger,
                                  StepScalars* now) {
    if (*place >= 0) formulas::note_gradient(*place, double(gradient[*place]), *entry, *ledger, *now);
}

}  // namespace fastbp::cuda
