// A job: rows that go through the network, what seeds the backward pass, and what the caller wants to know.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <variant>

#include "execution/model.hpp"
#include "execution/plan.hpp"
#include "execution/poll.hpp"
#include "seam/network.hpp"

namespace fastbp {

// The rows of a job.
template <class Real>
struct Rows {
    RowSource x;
    Matrix<const Real> x_view;  // X itself, if operations can read it in place; otherwise tiles are loaded
    Index kept_per_row = 0;     // the most numbers in one row of a compressed X
    RowSource weights;          // c
    bool has_masks = false;     // some weight is 0
    RowRange range;             // rows of X, y and the weights, as operations read them
    RowRange host_range;        // the same rows, as the process reads them
};

// ---- what seeds the backward pass: delta(L) ------------------------------------------------------------------------

// Forward only.
struct NoSeed {};

// The model's loss and the target y.
struct LossSeed {
    RowSource y;
    bool y_is_classes = false;
};

// A loss given as a function: it fills e (count) and dx (count, d(L)), the derivative of each row's loss with respect
// to x(L), for rows order[first ..] (or first .. if order is null). A result != 0 means that it failed.
struct FunctionSeed {
    int (*function)(void* context, const Index* order, Index first, Index count, const void* x, double* e,
                    void* dx) = nullptr;
    void* context = nullptr;
};

// The caller's de/dx(L).
struct CotangentSeed {
    RowSource cotangent;
};

using Seed = std::variant<NoSeed, LossSeed, FunctionSeed, CotangentSeed>;

// ---- what a job writes ---------------------------------------------------------------------------------------------

template <class Real>
struct Outputs {
    bool loss = false;    // the loss and the penalties, into the ledger
    Gradient<Real> grad;  // overwritten, or added to
    bool accumulate = false;
    bool leave_partials = false;  // `grad` is the scratch's gradient(0), and groups leave their sums there
    Matrix<Real> input_grad;
    double* example_loss = nullptr;
    double* example_grad_norm = nullptr;
    // Values of the whole batch in the caller's memory, one entry per layer; scratch holds those whose view is empty.
    std::span<const LayerValues<Real>> kept;
    bool forward_done = false;  // `kept` holds s and x already

    bool deltas() const { return !kept.empty() && !kept.front().delta.empty(); }
    bool values() const {
        return std::any_of(kept.begin(), kept.end(),
                           [](const LayerValues<Real>& v) { return !v.s.empty() || !v.x.empty() || !v.delta.empty(); });
    }
};

enum class TangentMode {
    forward,       // x_dot(L)
    gradient,      // the derivative of the gradient: outputs.grad and input_grad are grad_dot and input_grad_dot
    gauss_newton,  // the same with every layer taken as linear: J^T H_L J
};

// A direction for the R-operator.
template <class Real>
struct Direction {
    TangentMode mode = TangentMode::forward;
    const Real* params_dot = nullptr;  // null: 0
    RowSource x_dot;                   // empty: 0
    Matrix<Real> output_dot;           // x_dot(L) of the batch; empty: not wanted
};

// Where the update of a training step goes, and what training adds to a pass.
template <class Real>
struct StepTarget {
    Index number = 0;  // of the step, from 1
    std::uint64_t dropout_seed = 0;
    // The gradient is blended into the parameters, or each layer steps with its gradient. Both need one tile; the
    // second needs dense rows.
    bool blends_into_parameters = false;
    std::span<const LayerStep<Real>> layers;
    // The gradient is certainly finite if its factors bound every sum by `certain`. Otherwise it goes to
    // `separate_grad` and is checked before it changes the parameters.
    double certain = 0;
    Gradient<Real> separate_grad;

    bool in_place() const { return blends_into_parameters || !layers.empty(); }
    bool is_certain(const Magnitudes& m, Index rows) const {
        return std::max(m.x, 1.0) * m.delta * double(rows) <= certain;
    }
};

struct Penalties {
    double l2 = 0, l1 = 0;
    bool any() const { return l2 != 0 || l1 != 0; }
};

template <class Real>
struct Job {
    Parameters<Real> params;
    Rows<Real> rows;
    Seed seed;
    double scale = 1;             // factor on every c_n e_n
    double max_example_norm = 0;  // > 0: rows' own gradients are scaled down to it
    Penalties penalties;          // added to the loss's value and to the gradient; a StepTarget has its own way
    Outputs<Real> outputs;
    std::optional<Direction<Real>> direction;
    std::optional<StepTarget<Real>> step;
    Poll* poll = nullptr;

    bool by_loss() const { return std::holds_alternative<LossSeed>(seed); }
    bool by_function() const { return std::holds_alternative<FunctionSeed>(seed); }
    bool backward() const {
        return outputs.grad.wanted() || !outputs.input_grad.empty() || outputs.deltas() ||
               outputs.example_grad_norm != nullptr;
    }
    Work work() const {
        if (step) return Work::step;
        if (!backward() && !direction) return Work::forward;
        return outputs.forward_done ? Work::backward : Work::gradient;
    }
    bool needs_example_norms() const { return outputs.example_grad_norm != nullptr || max_example_norm > 0; }
    // Rows of weight 0 are set to 0, so that their numbers reach no sum over rows. Without a backward pass the only
    // such sum is the loss, which skips these rows.
    bool clears_masked() const { return rows.has_masks && backward(); }
    // Whether the gradient of the model's loss with respect to the parameters is all that is wanted, in other memory
    // than the parameters'.
    bool is_gradient_alone() const {
        return outputs.grad.wanted() && by_loss() && !direction && !(step && step->in_place()) &&
               !outputs.forward_done && outputs.input_grad.empty() && outputs.example_loss == nullptr &&
               !needs_example_norms() && !outputs.values();
    }
};

}  // namespace fastbp
