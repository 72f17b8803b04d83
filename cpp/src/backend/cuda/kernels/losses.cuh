// Equation (3). A warp handles a row. Each block sums its losses, and the sums of the blocks are added in order.
#pragma once

#include "backend/cuda/kernels/activations.cuh"
#include "backend/cuda/kernels/masks.cuh"
#include "backend/cuda/kernels/sums.cuh"
#include "formulas/losses.hpp"
#include "formulas/softmax.hpp"

namespace fastbp::cuda {

// The arguments of the kernels of this file. `block_losses` has one number for each block.
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

// ---- behind an elementwise g ---------------------------------------------------------------------------------

// The quantities of one output that a loss may read. One function serves all kernels, g and losses, because inlined
// copies would add a megabyte to the wheel. All threads of a launch take the same branch.
__device__ __attribute__((noinline)) static formulas::OutputPoint output_point(Activation g, double a, double s,
                                                                               double y, bool with_logarithm) {
    formulas::OutputPoint point{};
    formulas::with_activation(g, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        const formulas::Output out = formulas::output<kind>(s, a);
        point.s = s;
        point.x = value_of(out);
        point.residual = residual_of(out, y);
        point.prime = formulas::output_prime<kind>(s, point.x, a);
        point.second = formulas::output_second<kind>(s, point.x, point.prime, a);
        if (with_logarithm) point.log = formulas::output_logarithm<kind>(s, point.x, point.prime, point.second);
    });
    return point;
}

template <class Real>
__global__ void elementwise_loss_rows(ActivationFunction<Real> g, LossFunction<Real> loss, OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        double plain = 0;
        each_column(out.x.cols, [&](Index j) {
            const double c = out.y.weight(r, j);
            if (c == 0) {  // a masked output may be NaN
                if (!out.delta.empty()) out.delta(r, j) = 0;
                return;
            }
            const double y = double(out.y.value(r, j)), p = loss.parameter_of(j);
            const auto point = output_point(g.kind, double(g.a), double(out.s(r, j)), y, loss.kind == Loss::poisson);
            formulas::with_loss(loss.kind, [&](auto tag) {
                constexpr Loss kind = decltype(tag)::value;
                const double e =
                    formulas::stored_output_loss<kind>(point, y, p, double(formulas::Format<Real>::largest));
                plain += e;
                weighted += c * e;
                if (!out.delta.empty()) out.delta(r, j) = Real(c * scale * formulas::output_slope<kind>(point, y, p));
            });
        });
        report_example(out, r, plain);
    });
    report_block(out, weighted);
}

// ---- behind softmax ------------------------------------------------------------------------------------------

using formulas::SoftmaxRow;

template <class Real>
using SoftmaxLoss = formulas::SoftmaxLoss<LossFunction<Real>, Real, Target<Real>>;

template <class Real>
using TargetRow = formulas::TargetRow<Target<Real>>;

template <class Real>
__device__ inline SoftmaxRow<Real> softmax_row(const Matrix<const Real>& s, const Matrix<const Real>& x, Index r) {
    const Index m = column_of_largest(s, r);
    double others = 0;
    each_column(x.cols, [&](Index j) { others += j == m ? 0.0 : double(x(r, j)); });
    others = warp_sum(others);
    const double log_ratio = formulas::log_one_plus_any(others / double(x(r, m)));
    return {s.data + r * s.row_stride,
            x.data + r * x.row_stride,
            s.col_stride,
            x.col_stride,
            x.cols,
            s(r, m),
            x(r, m),
            others,
            log_ratio,
            m};
}

// Cross entropy with class number k: delta = c scale (x - y). x_k - 1 is computed as -(sum of the others), without
// cancellation.
template <class Real>
__global__ void softmax_class_rows(OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        const Index k = out.y.classes[r];
        const double c = TargetRow<Real>{out.y, r}.weight_of_class(k, out.x.cols);
        const SoftmaxRow<Real> row = softmax_row(out.s, out.x, r);
        const double loss = c == 0 || lane() != 0 ? 0 : row.minus_log(k);
        weighted += c * loss;
        report_example(out, r, loss);
        if (out.delta.empty()) return;
        const Real factor = Real(c * scale);
        each_column(out.x.cols, [&](Index j) {
            Real difference = out.x(r, j);
            if (j == k) difference = k == row.m ? -Real(row.others) : difference - 1;
            out.delta(r, j) = c == 0 ? Real(0) : factor * difference;
        });
    });
    report_block(out, weighted);
}

// The sum of a row's terms without the term of the largest x. All lanes get the same result.
template <class Real, class Term>
__device__ inline double sum_of_rest(const SoftmaxRow<Real>& row, Term a) {
    double rest = 0;
    each_column(row.n, [&](Index j) { rest += j == row.m ? 0.0 : a(j); });
    return warp_sum(rest);
}

template <class Real>
__global__ void softmax_loss_rows(LossFunction<Real> loss, OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        const SoftmaxRow<Real> row = softmax_row(out.s, out.x, r);
        const TargetRow<Real> target{out.y, r};
        const SoftmaxLoss<Real> terms{loss, row, target};
        const bool masked = is_masked_for_warp(out.y.c, r);
        double plain = 0;
        each_column(out.x.cols, [&](Index j) {
            const double c = target.weight(j);
            if (c == 0) return;
            const double e = terms.loss_of(j);
            plain += e;
            weighted += c * e;
        });
        report_example(out, r, plain);
        if (out.delta.empty()) return;
        const double rest = sum_of_rest(row, [&](Index j) { return terms.term(j); });
        const double a_m = terms.term(row.m);
        each_column(out.x.cols, [&](Index j) {
            out.delta(r, j) = masked ? Real(0) : Real(scale * row.mixed(j, terms.term(j), a_m, rest));
        });
    });
    report_block(out, weighted);
}

// ---- which of them -------------------------------------------------------------------------------------------

template <class Real>
void output_delta(Queue& queue, const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                  Matrix<const Real> x, const Target<Real>& y, Matrix<Real> delta, LossSlots slots) {
    const Shape rows = over_rows(x.rows);
    if (!loss_needs_s(loss.kind, g.kind)) s = x;
    const OutputLayer<Real> out{s, x, y, delta, slots.example, queue.scratch};
    if (!couples_columns(g.kind))
        queue.launch(elementwise_loss_rows<Real>, rows, g, loss, out);
    else if (loss.kind == Loss::cross_entropy && !y.classes.empty())
        queue.launch(softmax_class_rows<Real>, rows, out);
    else
        queue.launch(softmax_loss_rows<Real>, rows, loss, out);
    add_scratch(queue, rows.grid.x, y.scale, slots.sum);
}

}  // namespace fastbp::cuda
