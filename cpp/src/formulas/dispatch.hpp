// Dispatch from an activation or a loss known at run time to code that is compiled for it.
#pragma once

#include "formulas/elementary.hpp"
#include "seam/enums.hpp"

namespace fastbp::formulas {

template <Activation kind>
struct ActivationTag {
    static constexpr Activation value = kind;
};

// Calls body(tag) with the activation as a constant, unless couples_columns(kind).
template <class Body>
FASTBP_FORMULA void with_activation(Activation kind, Body body) {
    switch (kind) {
        case Activation::identity: return body(ActivationTag<Activation::identity>{});
        case Activation::logistic: return body(ActivationTag<Activation::logistic>{});
        case Activation::tanh: return body(ActivationTag<Activation::tanh>{});
        case Activation::relu: return body(ActivationTag<Activation::relu>{});
        case Activation::leaky_relu: return body(ActivationTag<Activation::leaky_relu>{});
        case Activation::elu: return body(ActivationTag<Activation::elu>{});
        case Activation::gelu: return body(ActivationTag<Activation::gelu>{});
        case Activation::silu: return body(ActivationTag<Activation::silu>{});
        case Activation::softplus: return body(ActivationTag<Activation::softplus>{});
        case Activation::sine: return body(ActivationTag<Activation::sine>{});
        case Activation::exp: return body(ActivationTag<Activation::exp>{});
        case Activation::softmax: break;
    }
}

template <Loss kind>
struct LossTag {
    static constexpr Loss value = kind;
};

// Calls body(tag) with the loss as a constant.
template <class Body>
FASTBP_FORMULA void with_loss(Loss kind, Body body) {
    switch (kind) {
        case Loss::squared_error: return body(LossTag<Loss::squared_error>{});
        case Loss::cross_entropy: return body(LossTag<Loss::cross_entropy>{});
        case Loss::poisson: return body(LossTag<Loss::poisson>{});
        case Loss::huber: return body(LossTag<Loss::huber>{});
        case Loss::absolute_error: return body(LossTag<Loss::absolute_error>{});
        case Loss::pinball: return body(LossTag<Loss::pinball>{});
        case Loss::none: break;
    }
}

// The same for losses that are functions of the residual x - y.
template <class Body>
FASTBP_FORMULA void with_residual_loss(Loss kind, Body body) {
    switch (kind) {
        case Loss::squared_error: return body(LossTag<Loss::squared_error>{});
        case Loss::huber: return body(LossTag<Loss::huber>{});
        case Loss::absolute_error: return body(LossTag<Loss::absolute_error>{});
        case Loss::pinball: return body(LossTag<Loss::pinball>{});
        case Loss::none:
        case Loss::cross_entropy:
        case Loss::poisson: break;
    }
}

}  // namespace fastbp::formulas
