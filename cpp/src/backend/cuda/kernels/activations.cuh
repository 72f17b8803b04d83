// Equation (2), and g' of (3), (4) and (8).
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "formulas/activations.hpp"
#include "formulas/dispatch.hpp"
#include "formulas/softmax.hpp"
#include "seam/network.hpp"

namespace fastbp::cuda {

template <Activation kind, class Real>
__global__ void activate_elements(Real a, Vector<const Real> b, Matrix<Real> s, Matrix<Real> x) {
    const auto summed = [=](Index r, Index j) { return b.empty() ? s(r, j) : s(r, j) + b[j]; };
    each_element(x.rows, x.cols, summed, [=](Index r, Index j, Real value) {
        if (!b.empty() && s.data != x.data) s(r, j) = value;
        x(r, j) = formulas::g<kind>(value, a);
    });
}

// Shifts each row by its maximum. Later passes of a lane read only what the lane wrote itself, so x may be s.
template <class Real>
__global__ void softmax_rows(Vector<const Real> b, Matrix<Real> s, Matrix<Real> x) {
    each_row(x.rows, [=](Index r) {
        if (!b.empty()) each_column(x.cols, [=](Index j) { s(r, j) += b[j]; });
        __syncwarp();  // another lane wrote the first number of the row
        Real largest = s(r, 0);
        each_column(x.cols, [&](Index j) { largest = s(r, j) > largest ? s(r, j) : largest; });
        for (int distance = warp_size / 2; distance > 0; distance /= 2) {
            const Real other = __shfl_xor_sync(whole_warp, largest, distance);
            largest = other > largest ? other : largest;
        }
        Real sum = 0;
        each_column(x.cols, [&](Index j) {
            x(r, j) = formulas::exponential_of(formulas::shifted_input(s(r, j), largest));
            sum += x(r, j);
        });
        sum = warp_sum(sum);
        each_column(x.cols, [=](Index j) { x(r, j) /= sum; });
    });
}

template <class Real>
void activate(Queue& queue, ActivationFunction<Real> g, Vector<const Real> b, Matrix<Real> s, Matrix<Real> x) {
    if (couples_columns(g.kind)) return queue.launch(softmax_rows<Real>, over_rows(x.rows), b, s, x);
    if (b.empty()) straighten(x, s);
    formulas::with_activation(g.kind, [&](auto tag) {
        queue.launch(activate_elements<decltype(tag)::value, Real>, over_elements(x), g.a, b, s, x);
    });
}

// to = g'(s) from. to may be from.
template <Activation kind, class Real>
__global__ void derivative_elements(Real a, Matrix<const Real> s, Matrix<const Real> x, Matrix<const Real> from,
                                    Matrix<Real> to) {
    struct Loaded {
        Real s, x, from;
    };
    each_element(
        to.rows, to.cols, [=](Index r, Index j) { return Loaded{s(r, j), x(r, j), from(r, j)}; },
        [=](Index r, Index j, Loaded at) { to(r, j) = at.from * formulas::g_prime<kind>(at.s, at.x, a); });
}

// The first column of the largest number. All lanes get the same result.
template <class Real>
__device__ inline Index column_of_largest(Matrix<const Real> m, Index r) {
    Index at = lane() < m.cols ? lane() : 0;
    each_column(m.cols, [&](Index j) { at = m(r, j) > m(r, at) ? j : at; });
    for (int distance = warp_size / 2; distance > 0; distance /= 2) {
        const Index other = __shfl_xor_sync(whole_warp, at, distance);
        if (m(r, other) > m(r, at) || (m(r, other) == m(r, at) && other < at)) at = other;
    }
    return __shfl_sync(whole_warp, at, 0);  // with NaN in the row, the lanes may have different results
}

// The same for softmax: to = x (from - sum_j from_j x_j). The `from` of the largest x is subtracted first. In the last
// pass a lane reads only numbers that it wrote itself, so `to` may be `from`.
template <class Real>
__global__ void softmax_derivative_rows(Matrix<const Real> x, Matrix<const Real> from, Matrix<Real> to) {
    each_row(to.rows, [=](Index r) {
        const Real from_m = from(r, column_of_largest(x, r));
        Real mean = 0;
        each_column(to.cols, [&](Index j) { mean += (from(r, j) - from_m) * x(r, j); });
        mean = warp_sum(mean);
        each_column(to.cols, [=](Index j) { to(r, j) = x(r, j) * ((from(r, j) - from_m) - mean); });
    });
}

template <class Real>
void times_derivative(Queue& queue, ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                      Matrix<const Real> from, Matrix<Real> to) {
    if (couples_columns(g.kind)) return queue.launch(softmax_derivative_rows<Real>, over_rows(to.rows), x, from, to);
    if (!derivative_needs_s(g.kind)) s = x;
    straighten(to, from, s, x);
    formulas::with_activation(g.kind, [&](auto tag) {
        queue.launch(derivative_elements<decltype(tag)::value, Real>, over_elements(to), g.a, s, x, from, to);
    });
}

}  // namespace fastbp::cuda
