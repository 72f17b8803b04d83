// The backward pass: the delta recursion over all layers, then the weight gradients over all layers.
//
// delta(L) is in pass.last().delta when it starts: from a loss (Backend::output_delta) or from the caller's de/dx(L).
// Every layer keeps its own delta and no buffer is reused inside a pass. So threads that share the pass need no more
// than the barriers of the operations, and since every delta is known before the first gradient is written,
// the sink may be w itself (plain SGD inside the product).
#pragma once

#include "seam/backend.hpp"

namespace fastbp {

// (4) for l = L..2, and (7) where input_grad is given.
template <class Real>
void delta_recursion(Backend<Real>& on, Network<Real> net, const Pass<Real>& pass,
                     Matrix<Real> input_grad = {}) noexcept {
    for (std::size_t k = net.size() - 1; k > 0; --k)
        on.propagate_delta(net[k], pass.layer[k].delta, net[k - 1].g, pass.layer[k - 1]);            // (4)
    if (!input_grad.empty()) on.gemm(1, pass.layer[0].delta, net[0].w.transposed(), 0, input_grad);  // (7)
}

struct NoReport {
    void operator()(Index) const noexcept {}
};

// (5)(6) for l = L..1 into the sink; layer_done(k) follows each layer.
template <class Real, class LayerDone = NoReport>
void weight_gradients(Backend<Real>& on, const Pass<Real>& pass, Sink<Real> sink, LayerDone layer_done = {}) noexcept {
    for (std::size_t k = sink.size(); k-- > 0;) {
        on.accumulate_gradients(pass.input(Index(k)), pass.layer[k].delta, sink[k]);  // (5)(6)
        layer_done(Index(k));
    }
    on.meet();  // nobody overwrites values of this tile that another thread still reads
}

template <class Real, class LayerDone = NoReport>
void backpropagate(Backend<Real>& on, Network<Real> net, const Pass<Real>& pass, Sink<Real> sink,
                   Matrix<Real> input_grad = {}, LayerDone layer_done = {}) noexcept {
    delta_recursion(on, net, pass, input_grad);
    weight_gradients(on, pass, sink, layer_done);
}

}  // namespace fastbp
