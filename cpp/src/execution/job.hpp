// One piece of work: rows through the network, from whatever seeds the recursion to whatever the caller asked for.
#pragma once

#include <algorithm>
#include <span>

#include "execution/model.hpp"
#include "execution/pace.hpp"
#include "execution/poll.hpp"
#include "seam/network.hpp"

namespace fastbp {

// A loss given as a function: fills e (count) and dx (count, d(L)), the derivative of each row's loss by x(L), for rows
// order[first ..] (or first .. where order is null). Not 0: it failed, and the job ends without a result.
struct LossCallback {
    int (*function)(void* context, const Index* order, Index first, Index count, const void* x, double* e,
                    void* dx) = nullptr;
    void* context = nullptr;
};

enum class Seed {
    none,       // forward only
    loss,       // delta(L) from the model's loss and y
    function,   // from the caller's loss function
    cotangent,  // from the caller's de/dx(L)
};

// What is computed along a direction, by the R-operator.
enum class Along {
    nothing,
    forward,       // x_dot(L)
    gradient,      // the derivative of the gradient: `grad` and `input_grad` are then grad_dot and input_grad_dot
    gauss_newton,  // the same with every layer taken as linear: J^T H_L J
};

template <class Real>
struct Job {
    Parameters<Real> params;

    RowSource x;
    Matrix<const Real> x_view;  // x itself, where it can be used as it lies; else tiles are loaded
    Index kept_per_row = 0;     // the most in one row of x, where that is compressed
    RowRange rows;              // which rows of x, y and weights
    RowRange host_rows;         // the same as the process can read them

    Seed seed = Seed::none;
    RowSource y, weights, cotangent;
    bool y_is_classes = false;
    bool has_masks = false;  // some weight is 0
    LossCallback function;
    double scale = 1;             // factor on every c_n e_n
    bool finite_or_stop = false;  // a loss that is not finite ends the job before it changes parameters
    Ledger* ledger = nullptr;     // in the place of that, where nobody waits for the loss

    // Training only: layers drop units as their model says, by this seed and step.
    bool drops_units = false;
    std::uint64_t seed_of_dropout = 0;
    Index step = 0;

    // Whole-batch values in the caller's memory, one entry per layer; a view that is empty lives in scratch.
    std::span<const LayerValues<Real>> kept;
    bool forward_done = false;  // s and x are in `kept` already
    double* example_loss = nullptr;
    double* example_grad_norm = nullptr;
    double max_example_norm = 0;  // > 0: rows' own gradients are scaled down to it
    Matrix<Real> input_grad;

    // Where the gradient goes: overwritten or accumulated; or blended into the parameters themselves, which takes one
    // tile.
    Gradient<Real> grad;
    bool accumulate = false;
    bool into_parameters = false;
    std::span<const LayerStep<Real>> steps;  // and the parameters' step with it; takes one tile and dense rows
    // Training only. A gradient is certainly finite if its factors bound every sum by `certain`. Otherwise it goes to
    // `separate_grad` and is checked before it changes the parameters.
    double certain = 0;
    Gradient<Real> separate_grad;
    bool leave_partials =
        false;  // grad is crew.gradient(0), and groups leave their sums in the crew for the caller to add

    // The direction: in parameters (null: 0) and in inputs (empty: 0); and x_dot(L) of the batch, where wanted.
    Along along = Along::nothing;
    const Real* params_dot = nullptr;
    RowSource x_dot;
    Matrix<Real> output_dot;

    Poll* poll = nullptr;

    bool backward() const {
        return grad.wanted() || !input_grad.empty() || wants_deltas() || example_grad_norm != nullptr;
    }
    Work work() const { return !backward() ? Work::forward : forward_done ? Work::backward : Work::gradient; }
    bool steps_in_place() const { return into_parameters || !steps.empty(); }
    bool is_certain(const Magnitudes& m) const { return std::max(m.x, 1.0) * m.delta * double(rows.count) <= certain; }
    bool looks_at_examples() const { return example_grad_norm != nullptr || max_example_norm > 0; }
    // Rows of weight 0 are set to 0, so that their numbers reach no sum over rows. Without a backward pass the only
    // such sum is the loss, which skips these rows.
    bool clears_masked() const { return has_masks && backward(); }
    bool wants_deltas() const { return !kept.empty() && !kept.front().delta.empty(); }
    // The gradient of the model's loss by the parameters, into memory that is not theirs.
    bool is_gradient_alone() const {
        const auto keeps = [](const LayerValues<Real>& v) { return !v.s.empty() || !v.x.empty() || !v.delta.empty(); };
        return grad.wanted() && seed == Seed::loss && along == Along::nothing && !into_parameters && steps.empty() &&
               !forward_done && input_grad.empty() && example_loss == nullptr && !looks_at_examples() &&
               std::none_of(kept.begin(), kept.end(), keeps);
    }
};

}  // namespace fastbp
