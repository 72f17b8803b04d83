// Optimiser steps over a block of parameters.
#pragma once

#include "backend/loops/sums.hpp"
#include "formulas/steps.hpp"

namespace fastbp::loops {
namespace {

template <class Real>
void sgd_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                std::span<const Vector<Real>> moments) {
    const formulas::SgdNumbers<Real> k{Real(now.lr), Real(rule.momentum),
                                       now.step == 1 ? Real(1) : Real(1 - rule.dampening), Real(rule.weight_decay),
                                       rule.nesterov};
    Real* buffer = rule.momentum != 0 ? moments.data()[0].data : nullptr;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real* p = params.data + begin;
        if (buffer == nullptr) {
            FASTBP_INDEPENDENT
            for (Index i = 0; i < n; ++i) formulas::sgd_step(k, g[i], p[i]);
        } else {
            Real* v = buffer + begin;
            FASTBP_INDEPENDENT
            for (Index i = 0; i < n; ++i) formulas::sgd_momentum_step(k, g[i], p[i], v[i]);
        }
    });
}

template <class Real>
void adam_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                 std::span<const Vector<Real>> moments) {
    const double step = double(now.step);
    const double correction1 = 1 - ::pow(rule.beta1, step), correction2 = 1 - ::pow(rule.beta2, step);
    const formulas::AdamNumbers<Real> k{
        Real(rule.beta1),        Real(rule.beta2),           Real(rule.eps),
        Real(rule.weight_decay), Real(now.lr / correction1), Real(__builtin_sqrt(correction2))};
    Real* m_all = moments.data()[0].data;
    Real* v_all = moments.data()[1].data;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real *p = params.data + begin, *m = m_all + begin, *v = v_all + begin;
        FASTBP_INDEPENDENT
        for (Index i = 0; i < n; ++i) formulas::adam_step(k, g[i], p[i], m[i], v[i]);
    });
}

template <class Real>
void update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
            std::span<const Vector<Real>> moments) {
    switch (rule.kind) {
        case Optimizer::sgd: return sgd_update<Real>(rule, now, gradient, params, moments);
        case Optimizer::adam: return adam_update<Real>(rule, now, gradient, params, moments);
    }
}

}  // namespace
}  // namespace fastbp::loops
