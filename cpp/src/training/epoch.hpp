// One epoch over a given row order and given learning rates: gather, forward, delta, gradients, update.
#pragma once

#include <limits>
#include <span>

#include "execution/carry_out.hpp"

namespace fastbp {

template <class Real>
struct Epoch {
    StepRule rule;
    std::span<const Vector<Real>> moments;  // as moment_count(rule) says, each of the parameters' size
    Index batch_size = 1;
    bool drop_last = false;
    bool penalties_by_weight = false;  // l2 and l1 are divided by each mini-batch's sum of weights
    const double* lr = nullptr;        // one per step
    double max_grad_norm = 0;          // 0: not clipped
    // Not 0: it failed. Called by the first member for layers L-1 .. 0.
    int (*grad_hook)(void* context, std::int32_t layer, void* grad, std::int64_t count) = nullptr;
    void* hook_context = nullptr;
    Real* hook_grad = nullptr;  // (P,): the memory of the gradient that the hook gets; null: the crew's
    std::uint64_t seed = 0;     // of dropout
    Index step = 0;             // steps done before this epoch, by all epochs; moves on with every step
    Plan plan;                  // of a mini-batch of batch_size rows
    Ledger* ledger = nullptr;   // in the backend's memory, where that is asynchronous

    // What happened, up to date whenever the epoch ends, early too.
    double loss_sum = 0;          // sum of c_n e_n over the mini-batches as they were met
    double weight_sum = 0;        // sum of their c_n
    double* values = nullptr;     // of each mini-batch before its step, penalties included; null: not wanted
    Index* steps_done = nullptr;  // mini-batches, those without a step included; a poll may look at it

    // Whether a step looks at the one summed gradient before the update.
    bool needs_gradient() const { return max_grad_norm > 0 || grad_hook != nullptr; }
    // The largest number that it may hold.
    template <class Number>
    double largest_usable(double rate) const {
        const double largest = fastbp::largest_usable<Number>(rule, rate);
        return 0 < max_grad_norm && max_grad_norm < largest ? std::numeric_limits<Number>::max() : largest;
    }
    // Whether one step is the same operations as the next: no code of the caller's in between, nothing that the process
    // waits for, and no factor that differs and is not in a slot.
    bool steps_are_alike(const Job<Real>& data) const {
        return grad_hook == nullptr && values == nullptr && !penalties_by_weight && data.seed != Seed::function;
    }
};

// Trains `params` in place on the rows of `data` (x, y, weights, rows, seed, poll, x_view and max_example_norm are
// taken from it; params, scale and the gradient's place are set here). A mini-batch's loss is the mean over its
// weights, plus the penalties; one whose weights are all 0 makes no step. Every member of the team runs it. Nothing is
// allocated per step. It ends early, before that step changes anything, where a loss is not finite and where the poll
// says stop: crew.stopped() has the reason. The crew must fit the plan of one mini-batch and one gradient besides.
template <class Real>
void run_epoch(Backend<Real>& on, const Member& member, const Model& model, Crew<Real>& crew, Real* params,
               const Job<Real>& data, Epoch<Real>& epoch);

// How many mini-batches an epoch has.
Index steps_of_epoch(Index rows, Index batch_size, bool drop_last);

}  // namespace fastbp
