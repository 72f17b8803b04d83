// The penalties: l2/2 sum w^2 + l1 sum |w| over the weights, not the biases.
#pragma once

#include "execution/workspace.hpp"

namespace fastbp {

template <class Real>
double penalty(Backend<Real>& on, double l2, double l1, const Model& model, Slots<Real>& slots, const Real* params) {
    slots.squares = slots.magnitudes = 0;
    for (const LayerShape& layer : model.layers) {
        const Vector<const Real> w{params + layer.first_w, layer.inputs * layer.outputs};
        if (l2 != 0) on.sum_of_squares(w, &slots.squares);
        if (l1 != 0) on.sum_of_magnitudes(w, &slots.magnitudes);
    }
    return 0.5 * l2 * slots.squares + l1 * slots.magnitudes;
}

template <class Real>
void add_penalties(Backend<Real>& on, double l2, double l1, const Model& model, const Real* params, Real* grad) {
    for (const LayerShape& layer : model.layers) {
        const Index size = layer.inputs * layer.outputs;
        on.add_penalty(l2, l1, {params + layer.first_w, size}, {grad + layer.first_w, size});
    }
}

}  // namespace fastbp
