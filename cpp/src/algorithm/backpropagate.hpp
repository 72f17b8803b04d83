// The backward pass: the delta recursion over all layers, then the weight gradients over all layers.
//
// delta(L) is in pass.last().delta when it starts: from a loss (Operations::output_delta) or from the caller's
// de/dx(L). Every layer keeps its own delta and no buffer is reused inside a pass. So threads that share the pass need
// no more than the barriers of the operations, and since every delta is known before the first gradient is written, the
// sink may be w itself (plain SGD inside the product).
#pragma once

#include "seam/operations.hpp"

namespace fastbp {

// (4) for l = L..2.
template <class Real>
void delta_recursion(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass) noexcept {
    for (std::size_t k = net.size() - 1; k > 0; --k)
        on.propagate_delta(net[k], pass.layer[k].delta, net[k - 1].g, pass.layer[k - 1]);  // (4)
}

// Norms of single rows' gradients that a caller requests, and their limit. `c` and `norm` may be empty.
struct ExampleNorms {
    Vector<const double> c;  // the rows' weights, empty if all are 1; delta(L) contains them and the scale
    const double* scale = nullptr;
    double limit = 0;        // if > 0, a row whose gradient has a larger norm is scaled down to this norm
    Vector<double> squares;  // scratch memory; empty if nothing is requested
    Vector<double> norm;     // the result: each row's norm without c and scale
};

// Between (4) and (5): computes the norm of each row's gradient from the norms of x and delta, and scales the deltas of
// rows whose norm is too large. So the sum of clipped gradients is still the one product (5) (Goodfellow 2015).
template <class Real>
void look_at_examples(Operations<Real>& on, const Pass<Real>& pass, const ExampleNorms& e) noexcept {
    if (e.squares.empty()) return;
    for (std::size_t k = 0; k < pass.layer.size(); ++k)
        on.gradient_squares(pass.input(Index(k)), pass.layer[k].delta, k > 0, e.squares);
    on.example_norms(e.squares, e.c, e.scale, e.limit, e.norm, e.squares);
    if (e.limit <= 0) return;
    for (const LayerValues<Real>& layer : pass.layer) on.scale_rows(e.squares, layer.delta);
}

// (5)(6) for l = L..1 into the sink. If there are steps, each layer's parameters are updated at once.
template <class Real>
void weight_gradients(Operations<Real>& on, const Pass<Real>& pass, Sink<Real> sink,
                      std::span<const LayerStep<Real>> steps = {}) noexcept {
    for (std::size_t k = sink.size(); k-- > 0;) {
        if (steps.empty())
            on.accumulate_gradients(pass.input(Index(k)), pass.layer[k].delta, sink[k]);  // (5)(6)
        else
            on.step_layer(pass.input(Index(k)), pass.layer[k].delta, sink[k], steps[k]);
    }
    on.barrier_wait();  // no thread may overwrite values of this tile that another thread still reads
}

// The operations before (5): (4), norms of single examples, and (7).
template <class Real>
void all_deltas(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass, Matrix<Real> input_grad,
                const ExampleNorms& examples) noexcept {
    delta_recursion(on, net, pass);
    look_at_examples(on, pass, examples);
    if (!input_grad.empty()) on.gemm(1, pass.layer[0].delta, net[0].w.transposed(), 0, input_grad);  // (7)
}

template <class Real>
void backpropagate(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass, Sink<Real> sink,
                   Matrix<Real> input_grad = {}, const ExampleNorms& examples = {}) noexcept {
    all_deltas(on, net, pass, input_grad, examples);
    weight_gradients(on, pass, sink);
}

}  // namespace fastbp
