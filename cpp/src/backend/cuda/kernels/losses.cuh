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

// ---- behind an elementwise g ---------------------------------------------------------------------------------

// One output, with everything that a loss may read of it. One function for all kernels, g and losses: copies of it
// would be a megabyte of the wheel. All threads take the same branch.
__device__ __attribute__((noinline)) static formulas::OutputPoint output_point(Activation g, double a, double s,
                                                                               double y, bool with_logarithm) {
    formulas::OutputPoint point{};
    formulas::with_activation(g, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        const formulas::Output out = formulas::output<kind>(s, a);
        point.s = s;
        point.x = out.limit + out.distance;
        point.residual = out.distance - (y - out.limit);
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
            if (c == 0) {  // a masked output may be nan
                if (!out.delta.empty()) out.delta(r, j) = 0;
                return;
            }
            const double y = double(out.y.value(r, j)), p = loss.parameter.empty() ? 0.0 : double(loss.parameter[j]);
            const auto point = output_point(g.kind, double(g.a), double(out.s(r, j)), y, loss.kind == Loss::poisson);
            formulas::with_loss(loss.kind, [&](auto tag) {
                constexpr Loss kind = decltype(tag)::value;
                const double of_x = formulas::output_loss<kind>(point, y, p);
                const double e =
                    formulas::magnitude(point.x) > double(formulas::Format<Real>::largest) ? __builtin_inf() : of_x;
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

// ln x_j = (s_j - s_m) - ln(1 + sum of the others' x / x_m), m the largest: nothing is lost however far the answer is
// right or wrong. The same of 1 - x_j and x_j - y_j.
template <class Real>
struct SoftmaxRow {
    Matrix<const Real> s, x;
    Index r, largest;
    double others, log_ratio;

    __device__ double output(Index j) const { return double(x(r, j)); }
    __device__ double minus_log(Index j) const { return (double(s(r, largest)) - double(s(r, j))) + log_ratio; }
    __device__ double complement(Index j) const { return j == largest ? others : 1 - output(j); }
    __device__ double residual(Index j, double y) const {
        return j == largest && output(j) > 0.5 ? (1 - y) - others : output(j) - y;
    }
};

template <class Real>
__device__ inline SoftmaxRow<Real> softmax_row(Matrix<const Real> s, Matrix<const Real> x, Index r) {
    const Index largest = column_of_largest(s, r);
    double others = 0;
    each_column(x.cols, [&](Index j) { others += j == largest ? 0.0 : double(x(r, j)); });
    others = warp_sum(others);
    return {s, x, r, largest, others, formulas::log_one_plus_any(others / double(x(r, largest)))};
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

// The terms of a loss for each output of a row: e_j, a_j = c x_j de/dx_j, and a_dot_j, the derivative of a_j along
// x_dot_j = x_j slope. a_dot_j is complete or only its Gauss-Newton part, x_j c (d2e/dx2) x_dot_j.
template <class Real>
struct SoftmaxLoss {
    LossFunction<Real> loss;
    SoftmaxRow<Real> row;
    Target<Real> y;

    __device__ double value(Index j) const { return double(y.value(row.r, j)); }
    __device__ double weight(Index j) const { return y.weight(row.r, j); }
    __device__ double loss_of(Index j) const {
        if (loss.kind == Loss::cross_entropy) return value(j) == 0 ? 0.0 : value(j) * row.minus_log(j);
        if (loss.kind == Loss::poisson) return formulas::poisson_loss(value(j), row.output(j), -row.minus_log(j));
        return of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_loss<decltype(tag)::value>(r, p); });
    }
    __device__ double term(Index j) const {
        const double c = weight(j);
        if (c == 0) return 0;
        if (loss.kind == Loss::cross_entropy) return -c * value(j);
        if (loss.kind == Loss::poisson) return c * row.residual(j, value(j));
        return c * row.output(j) * prime(j);
    }
    __device__ double term_dot(Index j, double slope, Curvature which) const {
        const double c = weight(j), x = row.output(j);
        if (c == 0 || loss.kind == Loss::cross_entropy) return 0;
        const bool whole = which == Curvature::hessian;
        if (loss.kind == Loss::poisson) return c * slope * (whole ? x : value(j));
        const double second = of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_second<decltype(tag)::value>(r, p); });
        return c * x * slope * (x * second + (whole ? prime(j) : 0.0));
    }

  private:
    __device__ double prime(Index j) const {
        return of_residual(
            j, [](auto tag, double r, double p) { return formulas::residual_prime<decltype(tag)::value>(r, p); });
    }
    template <class Formula>
    __device__ double of_residual(Index j, Formula formula) const {
        const double p = loss.parameter.empty() ? 0.0 : double(loss.parameter[j]);
        double found = 0;
        formulas::with_residual_loss(loss.kind, [&](auto tag) { found = formula(tag, row.residual(j, value(j)), p); });
        return found;
    }
};

// The sum of a row's terms without that of the largest x, the same in all lanes.
template <class Real, class Term>
__device__ inline double sum_of_rest(const SoftmaxRow<Real>& row, Term a) {
    double rest = 0;
    each_column(row.x.cols, [&](Index j) { rest += j == row.largest ? 0.0 : a(j); });
    return warp_sum(rest);
}

// a_j (1 - x_j) - x_j (sum of the other a).
template <class Real>
__device__ inline double mixed(const SoftmaxRow<Real>& row, Index j, double a_j, double a_m, double rest) {
    const double others = j == row.largest ? rest : a_m + (rest - a_j);
    return a_j * row.complement(j) - row.output(j) * others;
}

// True if all weights of the row are 0, the same in all lanes.
template <class Real>
__device__ inline bool is_masked(const Target<Real>& y, Index r, Index cols) {
    double counted = 0;
    each_column(cols, [&](Index j) { counted += y.weight(r, j) != 0 ? 1.0 : 0.0; });
    return warp_sum(counted) == 0;
}

template <class Real>
__global__ void softmax_loss_rows(LossFunction<Real> loss, OutputLayer<Real> out) {
    const double scale = *out.y.scale;
    double weighted = 0;
    each_row(out.x.rows, [&](Index r) {
        const SoftmaxLoss<Real> terms{loss, softmax_row(out.s, out.x, r), out.y};
        const bool masked = is_masked(out.y, r, out.x.cols);
        double plain = 0;
        each_column(out.x.cols, [&](Index j) {
            const double c = terms.weight(j);
            if (c == 0) return;
            const double e = terms.loss_of(j);
            plain += e;
            weighted += c * e;
        });
        report_example(out, r, plain);
        if (out.delta.empty()) return;
        const double rest = sum_of_rest(terms.row, [&](Index j) { return terms.term(j); });
        const double a_m = terms.term(terms.row.largest);
        each_column(out.x.cols, [&](Index j) {
            out.delta(r, j) = masked ? Real(0) : Real(scale * mixed(terms.row, j, terms.term(j), a_m, rest));
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
