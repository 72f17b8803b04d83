// The forward pass: equations (1) and (2).
#pragma once

#include "seam/operations.hpp"

namespace fastbp {

// Fills s and x of every layer from pass.x0.
template <class Real>
void forward(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass) noexcept {
    for (std::size_t k = 0; k < net.size(); ++k)
        on.affine_activate(net[k], pass.input(Index(k)), {}, pass.layer[k]);  // (1)(2)
}

}  // namespace fastbp
