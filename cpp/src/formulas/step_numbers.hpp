// The arguments of the step formulas, computed from a rule and the numbers of this step.
#pragma once

#include <cmath>

#include "formulas/steps.hpp"
#include "seam/step_rule.hpp"

namespace fastbp::formulas {

template <class Real>
FASTBP_FORMULA SgdNumbers<Real> sgd_numbers(const StepRule& rule, const StepScalars& now) {
    return {Real(now.lr), Real(rule.momentum), now.step == 1 ? Real(1) : Real(1 - rule.dampening),
            Real(rule.weight_decay), rule.nesterov};
}

template <class Real>
FASTBP_FORMULA AdamNumbers<Real> adam_numbers(const StepRule& rule, const StepScalars& now) {
    const double step = double(now.step);
    const double correction1 = 1 - ::pow(rule.beta1, step), root = square_root(1 - ::pow(rule.beta2, step));
    const bool decoupled = rule.kind == Optimizer::adamw;
    const Real eps = Real(rule.eps * root);
    return {Real(rule.beta2),
            Real(1 - rule.beta1),
            Real(1 - rule.beta2),
            Real(decoupled ? 0 : rule.weight_decay),
            Real(decoupled ? 1 - now.lr * rule.weight_decay : 1),
            Real(now.lr * root / correction1),
            eps,
            tiny_square(eps)};
}

template <class Real>
FASTBP_FORMULA RmspropNumbers<Real> rmsprop_numbers(const StepRule& rule, const StepScalars& now) {
    const Real eps = Real(rule.eps);
    return {Real(now.lr),        Real(rule.alpha), Real(1 - rule.alpha), eps, Real(rule.weight_decay),
            Real(rule.momentum), tiny_square(eps)};
}

template <class Real>
FASTBP_FORMULA AdagradNumbers<Real> adagrad_numbers(const StepRule& rule, const StepScalars& now) {
    return {Real(now.lr / (1 + double(now.step - 1) * rule.lr_decay)), Real(rule.eps), Real(rule.weight_decay)};
}

template <class Real>
FASTBP_FORMULA RpropNumbers<Real> rprop_numbers(const StepRule& rule) {
    return {Real(rule.eta_minus), Real(rule.eta_plus), Real(rule.step_size_min), Real(rule.step_size_max)};
}

// Appends a step's loss to the ledger. If the loss is not finite, or an earlier step was refused, no step is made.
FASTBP_FORMULA void note_loss(double loss, Ledger& ledger, StepScalars& now) {
    const bool finite = loss - loss == 0;
    if (ledger.stopped == 0 && finite) {
        ledger.losses[ledger.count++] = loss;
    } else {
        ledger.stopped = 1;
        now.step = 0;
    }
}

// Notes a refused number of a gradient in the ledger. No step is made.
FASTBP_FORMULA void note_gradient(Index place, double number, Ledger& ledger, StepScalars& now) {
    if (ledger.stopped != 0) return;
    ledger.stopped = 1;
    ledger.refused_place = place;
    ledger.refused_number = number;
    --ledger.count;  // its loss was noted before
    now.step = 0;
}

}  // namespace fastbp::formulas
