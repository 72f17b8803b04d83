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

// Softmax in a row: delta = x (u - m) with m = sum_j u_j x_j, so delta_dot = x_dot (u - m) + x (u_dot - m_dot), and
// x_dot = x (s_dot - sum_j x_j s_dot_j). U and U_dot give u and u_dot of a column.
template <class Real, class U, class UDot>
__device__ inline void softmax_tangent_row(Matrix<const Real> x, Matrix<const Real> s_dot, Index r,
                                           Matrix<Real> delta_dot, U u, UDot u_dot) {
    Real mean = 0, m = 0, m_dot = 0;
    each_column(x.cols, [&](Index j) {
        mean += x(r, j) * s_dot(r, j);
        m += x(r, j) * u(j);
    });
    mean = warp_sum(mean);
    m = warp_sum(m);
    const auto x_dot = [&](Index j) { return x(r, j) * (s_dot(r, j) - mean); };
    each_column(x.cols, [&](Index j) { m_dot += u_dot(j, x_dot(j)) * x(r, j) + u(j) * x_dot(j); });
    m_dot = warp_sum(m_dot);
    each_column(x.cols,
                [&](Index j) { delta_dot(r, j) = x_dot(j) * (u(j) - m) + x(r, j) * (u_dot(j, x_dot(j)) - m_dot); });
}

template <class Real>
__global__ void softmax_derivative_tangent_rows(Matrix<const Real> x, Matrix<const Real> s_dot, Matrix<const Real> u,
                                                Matrix<Real> delta_dot) {
    each_row(x.rows, [=](Index r) {
        softmax_tangent_row(
            x, s_dot, r, delta_dot, [=](Index j) { return u(r, j); },
            [=](Index j, Real) -> Real { return delta_dot(r, j); });
    });
}

template <class Real>
void derivative_tangent(Queue& queue, ActivationFunction<Real> g, Matrix<const Real> s, Matrix<const Real> x,
                        Matrix<const Real> s_dot, Matrix<const Real> u, Matrix<Real> delta_dot) {
    if (g.kind == Activation::softmax)
        return queue.launch(softmax_derivative_tangent_rows<Real>, over_rows(x.rows), x, s_dot, u, delta_dot);
    if (!derivative_needs_s(g.kind)) s = x;
    straighten(delta_dot, s, x, s_dot, u);
    formulas::with_activation(g.kind, [&](auto tag) {
        queue.launch(derivative_tangent_elements<decltype(tag)::value, Real>, over_elements(delta_dot), g.a, s, x,
                     s_dot, u, delta_dot);
    });
}

// ---- (9) -----------------------------------------------------------------------------------------------------

// c scale de/dx and c scale d2e/dx2 of one output; 0 where c is, whatever the target.
template <class Real>
struct LossSlopes {
    Real first = 0, second = 0;
};

template <Loss kind, class Real>
__device__ inline LossSlopes<Real> slopes(Real factor, Real y, Real x, Real p) {
    return {factor * formulas::loss_prime<kind>(y, x, p), factor * formulas::loss_second<kind>(y, x, p)};
}

template <class Real>
__device__ inline LossSlopes<Real> loss_slopes(LossFunction<Real> loss, const Target<Real>& y, Matrix<const Real> x,
                                               Index r, Index j) {
    const Real factor = Real(y.weight(r, j) * *y.scale);
    if (factor == 0) return {};
    const Real p = loss.parameter.empty() ? Real(0) : loss.parameter[j];
    switch (loss.kind) {
        case Loss::squared_error: return slopes<Loss::squared_error>(factor, y.value(r, j), x(r, j), p);
        case Loss::poisson: return slopes<Loss::poisson>(factor, y.value(r, j), x(r, j), p);
        case Loss::huber: return slopes<Loss::huber>(factor, y.value(r, j), x(r, j), p);
        case Loss::absolute_error: return slopes<Loss::absolute_error>(factor, y.value(r, j), x(r, j), p);
        case Loss::pinball: return slopes<Loss::pinball>(factor, y.value(r, j), x(r, j), p);
        case Loss::none:
        case Loss::cross_entropy: break;
    }
    return {};
}

// delta = c scale h(s), so delta_dot = c scale h'(s) s_dot, with h' = g' where the loss is taken from s (delta = x -
// y), else e'' g'^2 + e' g''.
template <Activation kind, class Real>
__global__ void output_tangent_elements(Real a, LossFunction<Real> loss, Matrix<const Real> s, Matrix<const Real> x,
                                        Target<Real> y, Matrix<const Real> s_dot, Matrix<Real> delta_dot) {
    const bool from_s = loss_needs_s(loss.kind, kind);
    each_element(x.rows, x.cols, [=](Index r, Index j) {
        const Real prime = formulas::g_prime<kind>(s(r, j), x(r, j), a);
        Real slope = 0;
        if (from_s) {
            slope = Real(y.weight(r, j) * *y.scale) * prime;
        } else {
            const LossSlopes<Real> e = loss_slopes(loss, y, x, r, j);
            slope = e.second * prime * prime + e.first * formulas::g_second<kind>(s(r, j), x(r, j), a);
        }
        delta_dot(r, j) = slope * s_dot(r, j);
    });
}

// Cross entropy behind softmax: delta = x T - t with t = c y and T their sum, so delta_dot = T x_dot.
template <class Real>
__global__ void cross_entropy_tangent_rows(Matrix<const Real> x, Target<Real> y, Matrix<const Real> s_dot,
                                           Matrix<Real> delta_dot) {
    each_row(x.rows, [=](Index r) {
        double total = 0;
        Real mean = 0;
        each_column(x.cols, [&](Index j) {
            const double c = y.weight(r, j);
            total += c == 0 ? 0.0 : c * double(y.value(r, j));
            mean += x(r, j) * s_dot(r, j);
        });
        const Real factor = Real(*y.scale * warp_sum(total));
        mean = warp_sum(mean);
        each_column(x.cols, [=](Index j) { delta_dot(r, j) = factor * (x(r, j) * (s_dot(r, j) - mean)); });
    });
}

// Any other loss behind softmax: u = c scale de/dx.
template <class Real>
__global__ void softmax_output_tangent_rows(LossFunction<Real> loss, Matrix<const Real> x, Target<Real> y,
                                            Matrix<const Real> s_dot, Matrix<Real> delta_dot) {
    each_row(x.rows, [=](Index r) {
        softmax_tangent_row(
            x, s_dot, r, delta_dot, [=](Index j) { return loss_slopes(loss, y, x, r, j).first; },
            [=](Index j, Real x_dot) { return loss_slopes(loss, y, x, r, j).second * x_dot; });
    });
}

template <class Real>
void output_delta_tangent(Queue& queue, const LossFunction<Real>& loss, ActivationFunction<Real> g,
                          Matrix<const Real> s, Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot,
                          Matrix<Real> delta_dot) {
    if (g.kind == Activation::softmax && loss.kind == Loss::cross_entropy)
        return queue.launch(cross_entropy_tangent_rows<Real>, over_rows(x.rows), x, y, s_dot, delta_dot);
    if (g.kind == Activation::softmax)
        return queue.launch(softmax_output_tangent_rows<Real>, over_rows(x.rows), loss, x, y, s_dot, delta_dot);
    if (!derivative_needs_s(g.kind)) s = x;
    formulas::with_activation(g.kind, [&](auto tag) {
        queue.launch(output_tangent_elements<decltype(tag)::value, Real>, over_elements(x), g.a, loss, s, x, y, s_dot,
                     delta_dot);
    });
}

}  // namespace fastbp::cuda
