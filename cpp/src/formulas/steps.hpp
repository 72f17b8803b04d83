// One optimiser step on one parameter, in torch.optim's formulas and names.
#pragma once

#include "formulas/elementary.hpp"

namespace fastbp::formulas {

FASTBP_FORMULA float square_root(float v) { return __builtin_sqrtf(v); }
FASTBP_FORMULA double square_root(double v) { return __builtin_sqrt(v); }

// A moment whose gradient has become zero decays towards the subnormal numbers, where each operation takes a hundred
// times as long (a pixel that is rarely set causes this). Long before that, the moment moves no parameter any more and
// is set to 0. The mean of squares is not set to 0 if eps = 0, because the step then depends on it alone.
template <class Real>
constexpr Real tiny = static_cast<Real>(sizeof(Real) == 4 ? 0x1p-96 : 0x1p-900);

template <class Real>
FASTBP_FORMULA Real flush_tiny(Real moment, Real limit = tiny<Real>) {
    return magnitude(moment) < limit ? static_cast<Real>(0) : moment;
}

template <class Real>
FASTBP_FORMULA Real tiny_square(Real eps) {
    return eps > 0 ? static_cast<Real>(sizeof(Real) == 4 ? 0x1p-120 : 0x1p-1000) : static_cast<Real>(0);
}

// direction / root, or 0 if the root is 0. If eps = 0, both are 0 for a parameter without gradients, and the root alone
// is 0 if the squares underflow. The parameter then does not change.
template <class Real>
FASTBP_FORMULA Real quotient_or_zero(Real direction, Real root) {
    return root == 0 ? Real(0) : direction / root;
}

// SGD: torch.optim.SGD. `buffer` is used only if momentum is not 0. The first step sets it to the gradient.
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
    buffer = flush_tiny(k.momentum * buffer + k.keep * decayed);
    p -= k.lr * (k.nesterov ? decayed + k.momentum * buffer : buffer);
}

// Adam: Kingma and Ba 2015, as in torch.optim.Adam; AdamW: Loshchilov and Hutter 2019, as in torch.optim.AdamW, whose
// decay is in keep = 1 - lr weight_decay and not in the gradient. torch divides m by sqrt(v) / root + eps, where
// root = sqrt(1 - beta2^t); here root is in step_size = lr root / (1 - beta1^t) and in eps, so that one division does.
template <class Real>
struct AdamNumbers {
    Real beta2, fresh1, fresh2, weight_decay, keep, step_size, eps;  // fresh = 1 - beta, rounded once
    Real least_square;
};

// Number: Real, or as many of them as a register holds. may_divide_by_0: eps is 0.
template <bool may_divide_by_0, class Real, class Number>
FASTBP_FORMULA void adam_step(const AdamNumbers<Real>& k, Number g, Number& p, Number& m, Number& v) {
    const Number decayed = g + k.weight_decay * p;
    m = flush_tiny(m + k.fresh1 * (decayed - m), tiny<Real>);
    v = flush_tiny(k.beta2 * v + k.fresh2 * decayed * decayed, k.least_square);
    if constexpr (may_divide_by_0)
        p = k.keep * p - quotient_or_zero(k.step_size * m, square_root(v) + k.eps);
    else
        p = k.keep * p - k.step_size * m / (square_root(v) + k.eps);
}

// RMSprop: Hinton 2012, as in torch.optim.RMSprop: a direction, from the running mean of the squared gradient or, where
// centered, from the running variance; then a step along it or along its momentum.
template <class Real>
struct RmspropNumbers {
    Real lr, alpha, fresh, eps, weight_decay, momentum;  // fresh = 1 - alpha, rounded once
    Real least_square;
};

template <class Real>
FASTBP_FORMULA Real rmsprop_direction(const RmspropNumbers<Real>& k, Real g, Real p, Real& square) {
    const Real decayed = g + k.weight_decay * p;
    square = flush_tiny(k.alpha * square + k.fresh * decayed * decayed, k.least_square);
    return quotient_or_zero(decayed, square_root(square) + k.eps);
}

template <class Real>
FASTBP_FORMULA Real centered_rmsprop_direction(const RmspropNumbers<Real>& k, Real g, Real p, Real& square,
                                               Real& mean) {
    const Real decayed = g + k.weight_decay * p;
    square = flush_tiny(k.alpha * square + k.fresh * decayed * decayed, k.least_square);
    mean = flush_tiny(mean + k.fresh * (decayed - mean));
    const Real difference = square - mean * mean;  // which rounding may bring below 0
    const Real variance = difference < 0 ? Real(0) : difference;
    return quotient_or_zero(decayed, square_root(variance) + k.eps);
}

template <class Real>
FASTBP_FORMULA void rmsprop_momentum_step(const RmspropNumbers<Real>& k, Real direction, Real& p, Real& buffer) {
    buffer = flush_tiny(k.momentum * buffer + direction);
    p -= k.lr * buffer;
}

// Adagrad: Duchi, Hazan and Singer 2011, as in torch.optim.Adagrad. step_size = lr / (1 + (t - 1) lr_decay).
template <class Real>
struct AdagradNumbers {
    Real step_size, eps, weight_decay;
};

template <class Real>
FASTBP_FORMULA void adagrad_step(const AdagradNumbers<Real>& k, Real g, Real& p, Real& sum) {
    const Real decayed = g + k.weight_decay * p;
    sum += decayed * decayed;
    p -= quotient_or_zero(k.step_size * decayed, square_root(sum) + k.eps);
}

// Rprop: Riedmiller and Braun 1993, as in torch.optim.Rprop: after a change of sign the parameter rests for one step,
// and the next step does not look back. The sign of a product that underflows is 0, as there.
template <class Real>
struct RpropNumbers {
    Real eta_minus, eta_plus, step_size_min, step_size_max;
};

template <class Real>
FASTBP_FORMULA void rprop_step(const RpropNumbers<Real>& k, Real g, Real& p, Real& previous, Real& step_size) {
    const Real agreement = g * previous;
    const Real factor = agreement > 0 ? k.eta_plus : (agreement < 0 ? k.eta_minus : Real(1));
    const Real scaled = step_size * factor;
    const Real raised = scaled < k.step_size_min ? k.step_size_min : scaled;
    step_size = raised > k.step_size_max ? k.step_size_max : raised;
    previous = agreement < 0 ? Real(0) : g;
    const Real sign = previous > 0 ? Real(1) : (previous < 0 ? Real(-1) : Real(0));
    p -= sign * step_size;
}

}  // namespace fastbp::formulas
