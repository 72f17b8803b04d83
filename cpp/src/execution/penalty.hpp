// The penalties: l2/2 sum w^2 + l1 sum |w| over the weights, not the biases.
#pragma once

#include "execution/workspace.hpp"

namespace fastbp {

template <class Real>
double penalty(Backend<Real>& on, double l2, double l1, const Model& model, Slots<Real>& live, const Real* params) {
    double sums[2] = {0, 0};
    on.upload(&sums[0], &live.squares, sizeof(double));
    on.upload(&sums[1], &live.magnitudes, sizeof(double));
    for (const LayerShape& layer : model.layers) {
        const Vector<const Real> w{params + layer.first_w, layer.inputs * layer.outputs};
        if (l2 != 0) on.sum_of_squares(w, nullptr, &live.squares);
        if (l1 != 0) on.sum_of_magnitudes(w, &live.magnitudes);
    }
    on.download(&live.squares, &sums[0], sizeof(double));
    on.download(&live.magnitudes, &sums[1], sizeof(double));
    return 0.5 * l2 * sums[0] + l1 * sums[1];
}

template <class Real>
void add_penalties(Backend<Real>& on, double l2, double l1, const Model& model, const Real* params, Real* grad) {
    for (const LayerShape& layer : model.layers) {
        const Index size = layer.inputs * layer.outputs;
        on.add_penalty(l2, l1, {params + layer.first_w, size}, {grad + layer.first_w, size});
    }
}

}  // namespace fastbp
