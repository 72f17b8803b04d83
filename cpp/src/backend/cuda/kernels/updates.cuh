// One optimiser step. The first thread of each block computes the numbers that all parameters share.
#pragma once

#include "backend/cuda/kernels/sums.cuh"
#include "formulas/step_numbers.hpp"

namespace fastbp::cuda {

// The moments of a parameter, in the order of NOTATION.md.
template <class Real>
struct MomentPointers {
    Real* of[most_moments] = {};

    explicit MomentPointers(std::span<const Vector<Real>> moments) {
        for (std::size_t k = 0; k < moments.size(); ++k) of[k] = moments[k].data;
    }
};

template <class Real, bool with_momentum>
struct SgdRule {
    using Numbers = formulas::SgdNumbers<Real>;
    static __device__ Numbers numbers(const StepRule& rule, const StepScalars& now) {
        return formulas::sgd_numbers<Real>(rule, now);
    }
    static __device__ void step(const Numbers& k, Real g, Real& p, const MomentPointers<Real>& moments, Index i) {
        if constexpr (with_momentum)
            formulas::sgd_momentum_step(k, g, p, moments.of[0][i]);
        else
            formulas::sgd_step(k, g, p);
    }
};

template <class Real>
struct AdamRule {
    using Numbers = formulas::AdamNumbers<Real>;
    static __device__ Numbers numbers(const StepRule& rule, const StepScalars& now) {
        return formulas::adam_numbers<Real>(rule, now);
    }
    static __device__ void step(const Numbers& k, Real g, Real& p, const MomentPointers<Real>& moments, Index i) {
        formulas::adam_step<true>(k, g, p, moments.of[0][i], moments.of[1][i]);
    }
};

template <class Real, bool centered, bool with_momentum>
struct RmspropRule {
    using Numbers = formulas::RmspropNumbers<Real>;
    static __device__ Numbers numbers(const StepRule& rule, const StepScalars& now) {
        return formulas::rmsprop_numbers<Real>(rule, now);
    }
    static __device__ void step(const Numbers& k, Real g, Real& p, const MomentPointers<Real>& moments, Index i) {
        Real direction;
        if constexpr (centered)
            direction = formulas::centered_rmsprop_direction(k, g, p, moments.of[0][i], moments.of[1][i]);
        else
            direction = formulas::rmsprop_direction(k, g, p, moments.of[0][i]);
        if constexpr (with_momentum)
            formulas::rmsprop_momentum_step(k, direction, p, moments.of[centered ? 2 : 1][i]);
        else
            p -= k.lr * direction;
    }
};

template <class Real>
struct AdagradRule {
    using Numbers = formulas::AdagradNumbers<Real>;
    static __device__ Numbers numbers(const StepRule& rule, const StepScalars& now) {
        return formulas::adagrad_numbers<Real>(rule, now);
    }
    static __device__ void step(const Numbers& k, Real g, Real& p, const MomentPointers<Real>& moments, Index i) {
        formulas::adagrad_step(k, g, p, moments.of[0][i]);
    }
};

template <class Real>
struct RpropRule {
    using Numbers = formulas::RpropNumbers<Real>;
    static __device__ Numbers numbers(const StepRule& rule, const StepScalars&) {
        return formulas::rprop_numbers<Real>(rule);
    }
    static __device__ void step(const Numbers& k, Real g, Real& p, const MomentPointers<Real>& moments, Index i) {
        formulas::rprop_step(k, g, p, moments.of[0][i], moments.of[1][i]);
    }
};

template <class Rule, class Real>
__global__ void update_elements(StepRule rule, const StepScalars* now, PartialPointers<Real> gradient,
                                Vector<Real> params, MomentPointers<Real> moments) {
    __shared__ typename Rule::Numbers numbers;
    if (threadIdx.x == 0) numbers = Rule::numbers(rule, *now);
    __syncthreads();
    if (now->step == 0) return;
    each_number(params.size, [&](Index i) { Rule::step(numbers, gradient.sum(i), params[i], moments, i); });
}

template <class Real>
void update(Queue& queue, const StepRule& rule, const StepScalars* now, std::span<const Vector<const Real>> gradient,
            Vector<Real> params, std::span<const Vector<Real>> moments) {
    const auto step = [&](auto by) {
        queue.launch(update_elements<decltype(by), Real>, over_numbers(params.size), rule, now,
                     PartialPointers<Real>(gradient), params, MomentPointers<Real>(moments));
    };
    const bool momentum = rule.momentum != 0;
    switch (rule.kind) {
        case Optimizer::sgd: return momentum ? step(SgdRule<Real, true>()) : step(SgdRule<Real, false>());
        case Optimizer::adam:
        case Optimizer::adamw: return step(AdamRule<Real>());
        case Optimizer::rmsprop:
            if (rule.centered)
                return momentum ? step(RmspropRule<Real, true, true>()) : step(RmspropRule<Real, true, false>());
            return momentum ? step(RmspropRule<Real, false, true>()) : step(RmspropRule<Real, false, false>());
        case Optimizer::adagrad: return step(AdagradRule<Real>());
        case Optimizer::rprop: return step(RpropRule<Real>());
    }
}

// ---- between the steps ---------------------------------------------------------------------------------------

__global__ static void clear_one(double* slot) { *slot = 0; }

__global__ static void note_one_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) {
    formulas::note_loss(parts, *entry, *ledger, now);
}

__global__ static void note_one_penalty(const double* squares, const double* magnitudes, double l2, double l1,
                                        const Index* entry, Ledger* ledger) {
    formulas::note_penalty(*squares, *magnitudes, l2, l1, ledger->entries[*entry]);
}

}  // namespace fastbp::cuda
