// Equation (3): a warp for each row, and the loss as sums of blocks that are then added in order.
#pragma once

#include "backend/cuda/kernels/activations.cuh"
#include "backend/cuda/kernels/sums.cuh"
#include "formulas/losses.hpp"

namespace fastbp::cuda {

// What a kernel of this file reads and writes. `block_losses` has a place for each block.
template <class Real>
struct OutputLayer {
    Matrix<const Real> s, x;
    Target<Real> y;
    Matrix<Real> delta;
    Vector<double> example;
    double* block_losses;
};

template <class Real>
__device__ inline void report_example(const OutputLayer<Real>& out, Index r, double loss) {
    if (out.example.empty()) return;
    loss = warp_sum(loss);
    if (lane() == 0) out.example[r] = loss;
}

template <class Real>
__device__ inline void report_block(const OutputLayer<Real>& out, double weighted) {
    const double sum = block_sum(weighted);
    if (threadIdx.x == 0 && threadIdx.y == 0) out.block_losses[blockIdx.x] = sum;
}

// ---- every loss but cross entropy behind softmax -------------------------------------------------------------

template <Loss kind, bool from_s, class Real>
__device__ inline double loss_of(Real y, Real s, Real x, Real p) {
    if constexpr (kind == Loss::cross_entropy) return formulas::logistic_cross_entropy(double(y), double(s));
    if constexpr (kind == Loss::poisson && from_s) return formulas::poisson_from_s(double(y), double(s), double(x));
    if constexpr (!from_s) return formulas::loss_value<kind>(y, x, p);
}

template <Loss kind, bool from_s, class Real>
__device__ inline Real slope_of(Real y, Real x, Real p) {
    if constexpr (from_s) return x - y;
    if constexpr (!from_s) return formulas::loss_prime<kind>(y, x, p);
}

template <Loss kind, bool from_s, class Real>
__global__ void separable_loss_rows(Vector<const Real> parameter, OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        double loss = 0;
        each_column(out.x.cols, [&](Index j) {
            const double c = out.y.weight(r, j);
            if (c == 0) {  // a masked target may be nan
                if (!out.delta.empty()) out.delta(r, j) = 0;
                return;
            }
            const Real y = out.y.value(r, j), x = out.x(r, j), s = from_s ? out.s(r, j) : x;
            const Real p = parameter.empty() ? Real(0) : parameter[j];
            const double e = loss_of<kind, from_s>(y, s, x, p);
            loss += e;
            weighted += c * e;
            if (!out.delta.empty()) out.delta(r, j) = Real(c * scale) * slope_of<kind, from_s>(y, x, p);
        });
        report_example(out, r, loss);
    });
    report_block(out, weighted);
}

// ---- cross entropy behind softmax ----------------------------------------------------------------------------

// ln x_j = (s_j - s_m) - ln(1 + sum of the others' x / x_m), m the largest: nothing is lost however far the answer is
// right or wrong.
template <class Real>
struct SoftmaxRow {
    Matrix<const Real> s;
    Index r, largest;
    double others, log_ratio;

    __device__ double minus_log(Index j) const { return (double(s(r, largest)) - double(s(r, j))) + log_ratio; }
};

// The first of the largest numbers, for all lanes.
template <class Real>
__device__ inline Index column_of_largest(Matrix<const Real> m, Index r) {
    Index at = lane() < m.cols ? lane() : 0;
    each_column(m.cols, [&](Index j) { at = m(r, j) > m(r, at) ? j : at; });
    for (int distance = warp_size / 2; distance > 0; distance /= 2) {
        const Index other = __shfl_xor_sync(whole_warp, at, distance);
        if (m(r, other) > m(r, at) || (m(r, other) == m(r, at) && other < at)) at = other;
    }
    return __shfl_sync(whole_warp, at, 0);  // with a nan in the row, lanes need not agree
}

template <class Real>
__device__ inline SoftmaxRow<Real> softmax_row(Matrix<const Real> s, Matrix<const Real> x, Index r) {
    const Index largest = column_of_largest(s, r);
    double others = 0;
    each_column(x.cols, [&](Index j) { others += j == largest ? 0.0 : double(x(r, j)); });
    others = warp_sum(others);
    return {s, r, largest, others, formulas::log_one_plus_any(others / double(x(r, largest)))};
}

// delta = c scale (x - y), for the class itself without cancellation: x_k - 1 = -(sum of the others).
template <class Real>
__global__ void softmax_class_rows(OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        const Index k = out.y.classes[r];
        const double c = k < 0 || k >= out.x.cols ? 0 : out.y.weight(r, k);  // a masked row may hold any number
        const SoftmaxRow<Real> row = softmax_row(out.s, out.x, r);
        const double loss = c == 0 || lane() != 0 ? 0 : row.minus_log(k);
        weighted += c * loss;
        report_example(out, r, loss);
        if (out.delta.empty()) return;
        const Real factor = Real(c * scale);
        each_column(out.x.cols, [&](Index j) {
            Real difference = out.x(r, j);
            if (j == k) difference = k == row.largest ? -Real(row.others) : difference - 1;
            out.delta(r, j) = c == 0 ? Real(0) : factor * difference;
        });
    });
    report_block(out, weighted);
}

// delta = scale (x sum(t) - t) with t = c y.
template <class Real>
__global__ void softmax_value_rows(OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    const auto target = [&](Index r, Index j) {
        const double c = out.y.weight(r, j);
        return c == 0 ? 0.0 : c * double(out.y.value(r, j));
    };
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        const SoftmaxRow<Real> row = softmax_row(out.s, out.x, r);
        double total = 0, loss = 0;
        each_column(out.x.cols, [&](Index j) {
            const double t = target(r, j);
            total += t;
            if (t == 0) return;
            weighted += t * row.minus_log(j);
            loss += double(out.y.value(r, j)) * row.minus_log(j);
        });
        report_example(out, r, loss);
        if (out.delta.empty()) return;
        const Real factor = Real(scale * warp_sum(total));
        each_column(out.x.cols, [&](Index j) { out.delta(r, j) = Real(-scale * target(r, j)) + factor * out.x(r, j); });
    });
    report_block(out, weighted);
}

// ---- which of them -------------------------------------------------------------------------------------------

template <class Real>
void output_delta(Queue& queue, const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                  Matrix<const Real> x, const Target<Real>& y, Matrix<Real> delta, LossSlots slots) {
    const Shape rows = over_rows(x.rows);
    const OutputLayer<Real> out{s, x, y, delta, slots.example, queue.scratch};
    if (loss.kind == Loss::cross_entropy && g.kind == Activation::softmax)
        queue.launch(y.classes.empty() ? softmax_value_rows<Real> : softmax_class_rows<Real>, rows, out);
    else if (loss.kind == Loss::cross_entropy)
        queue.launch(separable_loss_rows<Loss::cross_entropy, true, Real>, rows, loss.parameter, out);
    else if (loss_needs_s(loss.kind, g.kind))
        queue.launch(separable_loss_rows<Loss::poisson, true, Real>, rows, loss.parameter, out);
    else
        formulas::with_loss(loss.kind, [&](auto tag) {
            queue.launch(separable_loss_rows<decltype(tag)::value, false, Real>, rows, loss.parameter, out);
        });
    add_scratch(queue, rows.grid.x, y.scale, slots.sum);
    if (!delta.empty() && !loss_needs_s(loss.kind, g.kind) && g.kind != Activation::identity)
        times_derivative<Real>(queue, g, s, x, delta, delta);
}

}  // namespace fastbp::cuda
