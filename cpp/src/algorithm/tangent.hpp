// The R-operator (Pearlmutter, "Fast Exact Multiplication by the Hessian", 1994): a forward and backward pass together
// with its derivative along a direction in parameters and inputs, equations (8) to (11).
#pragma once

#include "seam/operations.hpp"

namespace fastbp {

// c = a_dot b + a b_dot, the derivative of a product. An empty tangent means that the factor is constant. At least one
// factor has a tangent.
template <class Real>
void product_tangent(Operations<Real>& on, const Input<Real>& a, Matrix<const Real> a_dot, Matrix<const Real> b,
                     Matrix<const Real> b_dot, Matrix<Real> c) noexcept {
    Real beta = 0;
    if (!a_dot.empty()) {
        on.gemm(1, a_dot, b, beta, c);
        beta = 1;
    }
    if (!b_dot.empty()) on.product(a, b_dot, beta, c);
}

// (8): s_dot and x_dot of every layer, after forward().
template <class Real>
void forward_tangent(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass,
                     const TangentPass<Real>& dot) noexcept {
    for (std::size_t k = 0; k < net.size(); ++k) {
        const LayerValues<Real>& values = pass.layer[k];
        const LayerTangents<Real>& tangent = dot.layer[k];
        product_tangent(on, pass.input(Index(k)), dot.input(Index(k)), net[k].w, dot.w(Index(k)), tangent.s);
        if (!dot.net.empty()) on.activate({Activation::identity}, dot.net[k].b, tangent.s, tangent.s);
        on.activate_tangent(net[k].g, values.s, values.x, tangent.s, tangent.x);
    }
}

// (4) and (10) for l = L..2, which keep u(l-1) in between, and the derivative of (7) if input_grad_dot is not empty.
// Requires delta(L) and delta_dot(L).
template <class Real>
void delta_recursion_tangent(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass,
                             const TangentPass<Real>& dot, Matrix<Real> input_grad_dot = {}) noexcept {
    for (std::size_t k = net.size() - 1; k > 0; --k) {
        const LayerValues<Real>& below = pass.layer[k - 1];
        const LayerTangents<Real>& tangent = dot.layer[k - 1];
        const Matrix<const Real> delta = pass.layer[k].delta;
        on.propagate_delta(net[k], delta, net[k - 1].g, below);
        const Matrix<const Real> delta_dot = dot.layer[k].delta;
        product_tangent(on, {delta}, delta_dot, net[k].w.transposed(), dot.w(Index(k)).transposed(),
                        tangent.delta);  // u_dot
        on.derivative_tangent(net[k - 1].g, below.s, below.x, tangent.s, below.u, tangent.delta);
    }
    if (input_grad_dot.empty()) return;
    const Matrix<const Real> delta = pass.layer[0].delta, delta_dot = dot.layer[0].delta;
    product_tangent(on, {delta}, delta_dot, net[0].w.transposed(), dot.w(0).transposed(), input_grad_dot);
}

// (11) for l = L..1 into the sink. `accumulate` is the blend (1, 1).
template <class Real>
void weight_gradients_tangent(Operations<Real>& on, const Pass<Real>& pass, const TangentPass<Real>& dot,
                              Sink<Real> sink, const Blend<Real>* accumulate) noexcept {
    for (std::size_t k = sink.size(); k-- > 0;) {
        LayerSink<Real> target = sink[k];
        const Matrix<const Real> x_dot = dot.input(Index(k));
        if (!x_dot.empty()) {
            on.accumulate_gradients({x_dot}, pass.layer[k].delta, {target.w, {}, target.blend_w, target.blend_b});
            target.blend_w = accumulate;
        }
        on.accumulate_gradients(pass.input(Index(k)), dot.layer[k].delta, target);
    }
    on.barrier_wait();
}

}  // namespace fastbp
