// One optimiser step on one parameter, in torch.optim's formulas and names.
#pragma once

#include "formulas/elementary.hpp"

namespace fastbp::formulas {

FASTBP_FORMULA float square_root(float v) { return __builtin_sqrtf(v); }
FASTBP_FORMULA double square_root(double v) { return __builtin_sqrt(v); }

// SGD: torch.optim.SGD. `buffer` is only touched where momentum is not 0; the first step starts it as the gradient.
template <class Real>
struct SgdNumbers {
    Real lr, momentum, keep, weight_decay;  // keep = 1 - dampening, or 1 in the first step
    bool nesterov;
};

template <class Real>
FASTBP_FORMULA void sgd_step(const SgdNumbers<Real>& k, Real g, Real& p) {
    p -= k.lr * (g + k.weight_decay * p);
}

template <class Real>
FASTBP_FORMULA void sgd_momentum_step(const SgdNumbers<Real>& k, Real g, Real& p, Real& buffer) {
    const Real decayed = g + k.weight_decay * p;
    buffer = k.momentum * buffer + k.keep * decayed;
    p -= k.lr * (k.nesterov ? decayed + k.momentum * buffer : buffer);
}

// Adam: Kingma and Ba 2015, as in torch.optim.Adam. step_size = lr / (1 - beta1^t), root = sqrt(1 - beta2^t).
template <class Real>
struct AdamNumbers {
    Real beta1, beta2, eps, weight_decay, step_size, root;
};

template <class Real>
FASTBP_FORMULA void adam_step(const AdamNumbers<Real>& k, Real g, Real& p, Real& m, Real& v) {
    const Real decayed = g + k.weight_decay * p;
    m += (1 - k.beta1) * (decayed - m);
    v = k.beta2 * v + (1 - k.beta2) * decayed * decayed;
    p -= k.step_size * m / (square_root(v) / k.root + k.eps);
}

}  // namespace fastbp::formulas
