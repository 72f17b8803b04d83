// Equations (9) and (10): derivatives of the deltas along a direction.
#pragma once

#include "backend/cuda/kernels/losses.cuh"

namespace fastbp::cuda {

// ---- (10) ----------------------------------------------------------------------------------------------------

template <Activation kind, class Real>
__global__ void derivative_tangent_elements(Real a, Matrix<const Real> s, Matrix<const Real> x,
                                            Matrix<const Real> s_dot, Matrix<const Real> u, Matrix<Real> delta_dot) {
    each_element(delta_dot.rows, delta_dot.cols, [=](Index r, Index j) {
        const Real prime = formulas::g_prime<kind>(s(r, j), x(r, j), a);
        const Real second = formulas::g_second<kind>(s(r, j), x(r, j), a);
        delta_dot(r, j) = prime * delta_dot(r, j) + second * s_dot(r, j) * u(r, j);
    });
}

template <class Real>
__global__ void softmax_derivative_tangent_rows(Matrix<const Real> x, Matrix<const Real> s_dot, Matrix<const Real> u,
                                                Matrix<Real> delta_dot) {
    each_row(x.rows, [=](Index r) {
        const Index m = column_of_largest(x, r);
        formulas::SoftmaxTangent<Real> row{s_dot(r, m), u(r, m), delta_dot(r, m)};
        Real mean_s = 0, mean = 0, mean_dot = 0;
        each_column(x.cols, [&](Index j) {
            mean_s += row.mean_s_term(x(r, j), s_dot(r, j));
            mean += row.mean_term(x(r, j), u(r, j));
        });
        row.mean_s = warp_sum(mean_s);
        row.mean = warp_sum(mean);
        each_column(x.cols,
                    [&](Index j) { mean_dot += row.mean_dot_term(x(r, j), s_dot(r, j), u(r, j), delta_dot(r, j)); });
        row.mean_dot = warp_sum(mean_dot);  // all lanes have read delta_dot of column m
        each_column(x.cols,
                    [&](Index j) { delta_dot(r, j) = row.delta_dot(x(r, j), s_dot(r, j), u(r, j), delta_dot(r, j)); });
    });
}

template <class Real>
void derivative_tangent(Queue& queue, ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                        Matrix<const Real> s_dot, Matrix<const Real> u, Matrix<Real> delta_dot) {
    if (couples_columns(g.kind))
        return queue.launch(softmax_derivative_tangent_rows<Real>, over_rows(x.rows), x, s_dot, u, delta_dot);
    if (!derivative_needs_s(g.kind)) s = x;
    straighten(delta_dot, s, x, s_dot, u);
    formulas::with_activation(g.kind, [&](auto tag) {
        queue.launch(derivative_tangent_elements<decltype(tag)::value, Real>, over_elements(delta_dot), g.a, s, x,
                     s_dot, u, delta_dot);
    });
}

// ---- (9) -----------------------------------------------------------------------------------------------------

// Behind an elementwise g delta is a function of s alone, so delta_dot = c scale (d2e/ds2) s_dot.
template <class Real>
__global__ void output_tangent_elements(ActivationFunction<Real> g, LossFunction<Real> loss, Matrix<const Real> s,
                                        Target<Real> y, Matrix<const Real> s_dot, Matrix<Real> delta_dot, bool whole) {
    each_element(delta_dot.rows, delta_dot.cols, [=](Index r, Index j) {
        const double c = y.weight(r, j);
        double curvature = 0;
        if (c != 0) {
            const double y_j = double(y.value(r, j)), p = loss.parameter_of(j);
            const auto point = output_point(g.kind, double(g.a), double(s(r, j)), y_j, loss.kind == Loss::poisson);
            formulas::with_loss(loss.kind, [&](auto tag) {
                constexpr Loss kind = decltype(tag)::value;
                curvature = whole ? formulas::output_curvature<kind>(point, y_j, p)
                                  : formulas::output_gauss_newton<kind>(point, y_j, p);
            });
            curvature *= c * *y.scale * double(s_dot(r, j));
        }
        delta_dot(r, j) = Real(curvature);
    });
}

template <class Real>
__global__ void softmax_output_tangent_rows(LossFunction<Real> loss, Matrix<const Real> s, Matrix<const Real> x,
                                            Target<Real> y, Matrix<const Real> s_dot, Matrix<Real> delta_dot,
                                            Curvature which) {
    const double scale = *y.scale;
    const bool whole = which == Curvature::hessian || is_canonical(loss.kind, Activation::softmax);
    each_row(x.rows, [=](Index r) {
        const SoftmaxRow<Real> row = softmax_row(s, x, r);
        const TargetRow<Real> target{y, r};
        const SoftmaxLoss<Real> terms{loss, row, target};
        const bool masked = is_masked_for_warp(y.c, r);
        const auto from_largest = [&](Index j) { return double(s_dot(r, j)) - double(s_dot(r, row.m)); };
        double mean = 0, sum = 0;
        each_column(x.cols, [&](Index j) {
            mean += row.output(j) * from_largest(j);
            sum += terms.term(j);
        });
        mean = warp_sum(mean);
        sum = warp_sum(sum);
        const auto slope = [&](Index j) { return from_largest(j) - mean; };
        const auto a_dot = [&](Index j) { return terms.term_dot(j, slope(j), which); };
        const double rest = sum_of_rest(row, a_dot), a_dot_m = a_dot(row.m);
        each_column(x.cols, [&](Index j) {
            const double mixed = row.mixed(j, a_dot(j), a_dot_m, rest);
            const double all = row.mixed_dot(j, mixed, slope(j), sum, whole);
            delta_dot(r, j) = masked ? Real(0) : Real(scale * all);
        });
    });
}

template <class Real>
void output_delta_tangent(Queue& queue, const LossFunction<Real>& loss, ActivationFunction<Real> g,
                          Matrix<const Real> s, Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot,
                          Matrix<Real> delta_dot, Curvature which) {
    if (!loss_needs_s(loss.kind, g.kind)) s = x;
    if (couples_columns(g.kind))
        return queue.launch(softmax_output_tangent_rows<Real>, over_rows(x.rows), loss, s, x, y, s_dot, delta_dot,
                            which);
    const bool whole = which == Curvature::hessian || is_canonical(loss.kind, g.kind);
    queue.launch(output_tangent_elements<Real>, over_elements(delta_dot), g, loss, s, y, s_dot, delta_dot, whole);
}

}  // namespace fastbp::cuda
