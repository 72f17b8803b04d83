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

// Write the loss of a mini-batch, the sum of its parts. With `now`, a loss that is not finite refuses the step and all
// later ones.
FASTBP_FORMULA void note_loss(Vector<const double> parts, Index entry, Ledger& ledger, StepScalars* now) {
    double loss = 0;
    for (Index k = 0; k < parts.size; ++k) loss += parts[k];
    ledger.entries[entry].loss = loss;
    if (now == nullptr) return;
    const bool finite = loss - loss == 0;
    if (!finite && ledger.refused_entry < 0) ledger.refused_entry = entry;
    if (ledger.refused_entry >= 0) now->step = 0;
}

// Write the penalties of a mini-batch.
FASTBP_FORMULA void note_penalty(double squares, double magnitudes, double l2, double l1, LossEntry& entry) {
    entry.penalty = 0.5 * l2 * squares + l1 * magnitudes;
}

// Refuse the step, and all later ones, because of a number of its gradient.
FASTBP_FORMULA void note_gradient(Index place, double number, Index entry, Ledger& ledger, StepScalars& now) {
    if (ledger.refused_entry < 0) {
        ledger.refused_entry = entry;
        ledger.refused_place = place;
        ledger.refused_number = number;
    }
    now.step = 0;
}

}  // namespace fastbp::formulas
