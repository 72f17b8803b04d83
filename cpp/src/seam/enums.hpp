// The vocabulary of the seam: which g, which loss, which number type a caller's array holds.
// NOTATION.md defines each; the numbers are those of fastbp.h and never change.
#pragma once

#include <cstdint>

namespace fastbp {

enum class Activation : std::int32_t {
    identity = 0,
    logistic = 1,
    tanh = 2,
    relu = 3,
    leaky_relu = 4,
    elu = 5,
    gelu = 6,
    silu = 7,
    softplus = 8,
    sine = 9,
    exp = 10,
    softmax = 11,
};

// The precision of products in float32, if a backend offers a choice: full, with the mantissa of TF32, or with factors
// rounded to bfloat16.
enum class Precision : std::int32_t { full = 0, tf32 = 1, bf16 = 2 };

enum class Loss : std::int32_t {
    none = 0,
    squared_error = 1,
    cross_entropy = 2,
    poisson = 3,
    huber = 4,
    absolute_error = 5,
    pinball = 6,
};

// True if g' needs the summed input s. Otherwise g' is computed from x = g(s), and s need not be kept.
static constexpr bool derivative_needs_s(Activation g) {
    return g == Activation::elu || g == Activation::gelu || g == Activation::silu || g == Activation::sine;
}

// True if each x(j) of a row depends on the s of all columns. Such a g has a Jacobian in the place of g', and
// operations on it need whole rows.
static constexpr bool couples_columns(Activation g) { return g == Activation::softmax; }

// True if the loss and its derivatives with respect to s(L) need s(L) itself. Behind identity and relu x replaces it,
// because g(x) = x.
static constexpr bool loss_needs_s(Loss loss, Activation g) {
    return loss != Loss::none && g != Activation::identity && g != Activation::relu;
}

// True if g is the canonical link of the loss (McCullagh and Nelder, Generalized Linear Models, 1989). Then de/ds = x -
// y, and the loss is convex in s.
static constexpr bool is_canonical(Loss loss, Activation g) {
    return loss == Loss::cross_entropy || (loss == Loss::poisson && g == Activation::exp);
}

// The second derivative of the loss with respect to s(L): the Hessian, or the Gauss-Newton matrix, which leaves out the
// curvature of g if g is not the canonical link.
enum class Curvature : std::int32_t { hessian = 0, gauss_newton = 1 };

}  // namespace fastbp
