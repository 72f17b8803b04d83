// One epoch over a given row order and given learning rates: load rows, forward, delta, gradients, update.
#pragma once

#include <limits>
#include <span>

#include "execution/runner.hpp"

namespace fastbp {

// Where an epoch reports what happened. It is up to date whenever the epoch ends, also early and by an exception.
struct EpochReport {
    double& loss_sum;    // sum of c_n e_n over the mini-batches, each before its step
    double& weight_sum;  // sum of their c_n
    Index& step;         // steps done by all epochs
    Index& steps_done;   // mini-batches of this epoch, those without a step included; a poll may read it
    double* values;      // of each mini-batch before its step, penalties included; null: not wanted
};

template <class Real>
struct Epoch {
    StepRule rule;
    std::span<const Vector<Real>> moments;  // as moment_count(rule) says, each of the parameters' size
    Index batch_size = 1;
    bool drop_last = false;
    bool penalties_by_weight = false;  // l2 and l1 are divided by each mini-batch's sum of weights
    const double* lr = nullptr;        // one per mini-batch
    double max_grad_norm = 0;          // 0: not clipped
    // Called by the first member for layers L-1 .. 0. A result != 0 means that it failed.
    int (*grad_hook)(void* context, std::int32_t layer, void* grad, std::int64_t count) = nullptr;
    void* hook_context = nullptr;
    Real* hook_grad = nullptr;  // (P,): memory for the gradient that the hook gets; null: the scratch's
    std::uint64_t dropout_seed = 0;

    // Whether a step needs the one summed gradient before the update.
    bool needs_gradient() const { return max_grad_norm > 0 || grad_hook != nullptr; }
    // The largest number that it may hold.
    double largest_usable(double rate) const {
        const double largest = fastbp::largest_usable<Real>(rule, rate);
        return 0 < max_grad_norm && max_grad_norm < largest ? std::numeric_limits<Real>::max() : largest;
    }
    // Whether all steps are the same operations on the same views: the caller's code does not run in between, and every
    // number that differs is in a slot.
    bool can_be_recorded(bool keeps_values, bool by_function) const {
        return grad_hook == nullptr && !keeps_values && !penalties_by_weight && !by_function;
    }
};

// Why an epoch ended.
struct EpochEnd {
    Stop stopped = Stop::none;
    Refused refused;
};

// Trains `params` in place on the job's rows by its seed. A mini-batch's loss is the mean over its weights, plus the
// penalties. A mini-batch whose weights are all 0 makes no step. Nothing is allocated per step. The epoch ends early,
// before that step changes anything, if a loss or a gradient is not finite and if a callback asks to stop.
template <class Real>
EpochEnd run_epoch(const Runner<Real>& runner, Real* params, const Job<Real>& job, const Epoch<Real>& epoch,
                   const EpochReport& report);

// How many mini-batches an epoch has.
Index steps_of_epoch(Index rows, Index batch_size, bool drop_last);

}  // namespace fastbp
