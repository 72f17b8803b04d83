// What the loops share: the dispatch over activations and losses, and the walk over the rows of a block.
#pragma once

#include "formulas/activations.hpp"
#include "formulas/losses.hpp"
#include "seam/network.hpp"

namespace fastbp::loops {
namespace {

// The arrays of an elementwise loop are either the same or apart, never shifted against each other.
#define FASTBP_INDEPENDENT _Pragma("GCC ivdep")

template <Activation kind>
struct ActivationTag {
    static constexpr Activation value = kind;
};

// Calls body(tag) with the activation as a constant, so that its loop is compiled for it alone. Not for softmax.
template <class Body>
inline void with_activation(Activation kind, Body body) {
    switch (kind) {
        case Activation::identity: return body(ActivationTag<Activation::identity>{});
        case Activation::logistic: return body(ActivationTag<Activation::logistic>{});
        case Activation::tanh: return body(ActivationTag<Activation::tanh>{});
        case Activation::relu: return body(ActivationTag<Activation::relu>{});
        case Activation::leaky_relu: return body(ActivationTag<Activation::leaky_relu>{});
        case Activation::elu: return body(ActivationTag<Activation::elu>{});
        case Activation::gelu: return body(ActivationTag<Activation::gelu>{});
        case Activation::silu: return body(ActivationTag<Activation::silu>{});
        case Activation::softplus: return body(ActivationTag<Activation::softplus>{});
        case Activation::sine: return body(ActivationTag<Activation::sine>{});
        case Activation::exp: return body(ActivationTag<Activation::exp>{});
        case Activation::softmax: break;
    }
}

template <Loss kind>
struct LossTag {
    static constexpr Loss value = kind;
};

// The losses that are a function of y and x alone.
template <class Body>
inline void with_loss(Loss kind, Body body) {
    switch (kind) {
        case Loss::squared_error: return body(LossTag<Loss::squared_error>{});
        case Loss::poisson: return body(LossTag<Loss::poisson>{});
        case Loss::huber: return body(LossTag<Loss::huber>{});
        case Loss::absolute_error: return body(LossTag<Loss::absolute_error>{});
        case Loss::pinball: return body(LossTag<Loss::pinball>{});
        case Loss::none:
        case Loss::cross_entropy: break;
    }
}

// The stride between columns: a constant where the block is known to have unit strides.
template <bool unit, class T>
inline Index step_of(const Matrix<T>& m) {
    return unit ? 1 : m.col_stride;
}

template <class T>
inline T* row_of(const Matrix<T>& m, Index r) {
    return m.data + r * m.row_stride;
}

template <class... T>
inline bool without_gaps(const Matrix<T>&... m) {
    return ((m.empty() || (m.row_stride == m.cols && m.col_stride == 1)) && ...);
}

// The rows and columns to loop over: one long row where no block has gaps.
struct Extent {
    Index rows, cols;
};

template <class First, class... T>
inline Extent extent_of(const Matrix<First>& m, const Matrix<T>&... others) {
    if (without_gaps(m, others...)) return {1, m.rows * m.cols};
    return {m.rows, m.cols};
}

}  // namespace
}  // namespace fastbp::loops
