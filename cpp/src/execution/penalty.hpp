// The penalties: l2/2 sum w^2 + l1 sum |w| over the weights, not the biases.
#pragma once

#include "execution/job.hpp"
#include "execution/team_scratch.hpp"

namespace fastbp {

// Writes the value of the penalties to the ledger. The members of a team share the sums; only one of them may pass a
// ledger.
template <class Real>
void note_penalties(Operations<Real>& on, Penalties p, const Model& model, Slots<Real>& live, const Real* params,
                    Ledger* ledger) {
    on.clear(&live.squares);
    on.clear(&live.magnitudes);
    for (const LayerShape& layer : model.layers) {
        const Vector<const Real> w{params + layer.first_w, layer.inputs * layer.outputs};
        if (p.l2 != 0) on.sum_of_squares(w, nullptr, &live.squares);
        if (p.l1 != 0) on.sum_of_magnitudes(w, &live.magnitudes);
    }
    if (ledger != nullptr) on.note_penalty(&live.squares, &live.magnitudes, p.l2, p.l1, &live.entry, ledger);
}

// Adds their derivatives to a gradient.
template <class Real>
void add_penalties(Operations<Real>& on, Penalties p, const Model& model, const Real* params, Real* grad) {
    for (const LayerShape& layer : model.layers) {
        const Index size = layer.inputs * layer.outputs;
        on.add_penalty(p.l2, p.l1, {params + layer.first_w, size}, {grad + layer.first_w, size});
    }
}

}  // namespace fastbp
