// Optimiser steps over a block of parameters.
#pragma once

#include "backend/loops/sums.hpp"
#include "backend/loops/vectors.hpp"
#include "formulas/step_numbers.hpp"

namespace fastbp::loops {
namespace {

template <class Real>
void sgd_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                std::span<const Vector<Real>> moments) {
    const auto k = formulas::sgd_numbers<Real>(rule, now);
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

template <bool may_divide_by_0, class Real>
void adam_update(const formulas::AdamNumbers<Real>& k, Partials<Real> gradient, Vector<Real> params,
                 std::span<const Vector<Real>> moments) {
    using S = Vectors<Real>;
    Real* m_all = moments.data()[0].data;
    Real* v_all = moments.data()[1].data;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real *p = params.data + begin, *m = m_all + begin, *v = v_all + begin;
        const auto step = [=](Index i, auto... mask) {
            const Lanes<Real> g_i{S::load(g + i, mask...)};
            Lanes<Real> p_i{S::load(p + i, mask...)}, m_i{S::load(m + i, mask...)}, v_i{S::load(v + i, mask...)};
            formulas::adam_step<may_divide_by_0>(k, g_i, p_i, m_i, v_i);
            S::store(p + i, p_i.v, mask...);
            S::store(m + i, m_i.v, mask...);
            S::store(v + i, v_i.v, mask...);
        };
        Index i = 0;
        for (; i + S::lanes <= n; i += S::lanes) step(i);
        if (i < n) step(i, S::first(int(n - i)));
    });
}

template <class Real>
void adam_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                 std::span<const Vector<Real>> moments) {
    const auto k = formulas::adam_numbers<Real>(rule, now);
    if (k.eps > 0)
        adam_update<false>(k, gradient, params, moments);
    else
        adam_update<true>(k, gradient, params, moments);
}

// A step on p along direction(i), or along its momentum if there is a buffer.
template <class Real, class Direction>
inline void rmsprop_descend(const formulas::RmspropNumbers<Real>& k, Index n, Real* p, Real* buffer,
                            Direction direction) {
    if (buffer == nullptr) {
        FASTBP_INDEPENDENT
        for (Index i = 0; i < n; ++i) p[i] -= k.lr * direction(i);
    } else {
        FASTBP_INDEPENDENT
        for (Index i = 0; i < n; ++i) formulas::rmsprop_momentum_step(k, direction(i), p[i], buffer[i]);
    }
}

template <class Real>
void rmsprop_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                    std::span<const Vector<Real>> moments) {
    const auto k = formulas::rmsprop_numbers<Real>(rule, now);
    const Vector<Real>* next = moments.data();
    Real* square_all = next++->data;
    Real* mean_all = rule.centered ? next++->data : nullptr;
    Real* buffer_all = rule.momentum != 0 ? next->data : nullptr;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real *p = params.data + begin, *square = square_all + begin;
        Real* buffer = buffer_all == nullptr ? nullptr : buffer_all + begin;
        if (mean_all == nullptr) {
            rmsprop_descend(k, n, p, buffer,
                            [=](Index i) { return formulas::rmsprop_direction(k, g[i], p[i], square[i]); });
        } else {
            Real* mean = mean_all + begin;
            rmsprop_descend(k, n, p, buffer, [=](Index i) {
                return formulas::centered_rmsprop_direction(k, g[i], p[i], square[i], mean[i]);
            });
        }
    });
}

template <class Real>
void adagrad_update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
                    std::span<const Vector<Real>> moments) {
    const auto k = formulas::adagrad_numbers<Real>(rule, now);
    Real* sum_all = moments.data()[0].data;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real *p = params.data + begin, *sum = sum_all + begin;
        FASTBP_INDEPENDENT
        for (Index i = 0; i < n; ++i) formulas::adagrad_step(k, g[i], p[i], sum[i]);
    });
}

template <class Real>
void rprop_update(const StepRule& rule, Partials<Real> gradient, Vector<Real> params,
                  std::span<const Vector<Real>> moments) {
    const auto k = formulas::rprop_numbers<Real>(rule);
    Real* previous_all = moments.data()[0].data;
    Real* size_all = moments.data()[1].data;
    for_each_sum<Real>(gradient, params.size, [=](Index begin, Index n, const Real* g) {
        Real *p = params.data + begin, *previous = previous_all + begin, *size = size_all + begin;
        FASTBP_INDEPENDENT
        for (Index i = 0; i < n; ++i) formulas::rprop_step(k, g[i], p[i], previous[i], size[i]);
    });
}

template <class Real>
void update(const StepRule& rule, const StepScalars& now, Partials<Real> gradient, Vector<Real> params,
            std::span<const Vector<Real>> moments) {
    switch (rule.kind) {
        case Optimizer::sgd: return sgd_update<Real>(rule, now, gradient, params, moments);
        case Optimizer::adam:
        case Optimizer::adamw: return adam_update<Real>(rule, now, gradient, params, moments);
        case Optimizer::rmsprop: return rmsprop_update<Real>(rule, now, gradient, params, moments);
        case Optimizer::adagrad: return adagrad_update<Real>(rule, now, gradient, params, moments);
        case Optimizer::rprop: return rprop_update<Real>(rule, gradient, params, moments);
    }
}

}  // namespace
}  // namespace fastbp::loops
