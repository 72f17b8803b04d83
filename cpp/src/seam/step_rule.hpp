// The constants of an optimiser, and the numbers of one step. Plain data.
#pragma once

#include "seam/views.hpp"

namespace fastbp {

// An optimiser's rule (torch.optim's names) and the numbers of one step, read when the operation runs.
enum class Optimizer : std::int32_t { sgd = 0, adam = 1, rmsprop = 2, adagrad = 3, adamw = 4, rprop = 5 };

struct StepRule {
    Optimizer kind = Optimizer::sgd;
    bool nesterov = false, centered = false;
    double momentum = 0, dampening = 0, weight_decay = 0;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double alpha = 0.99, lr_decay = 0;
    double eta_minus = 0.5, eta_plus = 1.2, step_size_min = 1e-6, step_size_max = 50;
};

struct StepScalars {
    double lr = 0;
    Index step = 1;  // counts from 1; 0: no step
};

// The mean loss of a mini-batch, without penalties, and its penalties.
struct LossEntry {
    double loss = 0, penalty = 0;
};

// The losses of a call or an epoch: an entry for each mini-batch, and the first mini-batch whose step was refused.
struct Ledger {
    LossEntry* entries = nullptr;
    Index refused_entry = -1;  // -1: none
    Index refused_place = -1;  // of a number of the refused gradient; -1 if the loss was refused
    double refused_number = 0;
};

// The number of arrays of the parameters' size that a rule keeps between steps. No rule keeps more than most_moments.
inline int moment_count(const StepRule& rule) {
    const int buffer = rule.momentum != 0 ? 1 : 0;
    switch (rule.kind) {
        case Optimizer::sgd: return buffer;
        case Optimizer::rmsprop: return 1 + (rule.centered ? 1 : 0) + buffer;
        case Optimizer::adagrad: return 1;
        case Optimizer::adam:
        case Optimizer::adamw:
        case Optimizer::rprop: break;
    }
    return 2;
}
constexpr int most_moments = 3;

// The largest number of a gradient that a step of the rule can use: neither its square in a moment nor its product with
// the learning rate overflows.
template <class Real>
constexpr double largest_usable(const StepRule& rule, double lr) {
    constexpr bool single = sizeof(Real) == 4;
    constexpr double largest = single ? 0x1.fffffep127 : 0x1.fffffffffffffp1023;
    switch (rule.kind) {
        case Optimizer::sgd: return lr > 1 ? largest / lr : largest;
        case Optimizer::rprop: return largest;
        case Optimizer::adam:
        case Optimizer::rmsprop:
        case Optimizer::adagrad:
        case Optimizer::adamw: break;
    }
    return single ? 0x1.fp63 : 0x1.fp511;
}

}  // namespace fastbp
