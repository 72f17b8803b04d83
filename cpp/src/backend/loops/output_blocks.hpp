// The losses behind an elementwise g, for one block of outputs at a time. A block is gathered from the tile as float64.
// Then one loop computes each quantity of the loss, which vectorises even if a row has only one output.
#pragma once

#include "backend/loops/blocks.hpp"

namespace fastbp::loops {
namespace {

using OutputNumbers = double[outputs_at_a_time];

template <class T>
inline void gather(const Matrix<const T>& m, double* out) {
    const Extent extent = extent_of(m);
    for (Index r = 0; r < extent.rows; ++r, out += extent.cols) {
        const T* row = row_of(m, r);
        if (m.col_stride == 1)
            for (Index j = 0; j < extent.cols; ++j) out[j] = double(row[j]);
        else
            for (Index j = 0; j < extent.cols; ++j) out[j] = double(row[j * m.col_stride]);
    }
}

// out = body(k), with k the position in the block.
template <class T, class Body>
inline void scatter(const Matrix<T>& out, Body body) {
    const Extent extent = extent_of(out);
    for (Index r = 0; r < extent.rows; ++r) {
        T* row = row_of(out, r);
        const Index first = r * extent.cols;
        if (out.col_stride == 1)
            for (Index j = 0; j < extent.cols; ++j) row[j] = T(body(first + j));
        else
            for (Index j = 0; j < extent.cols; ++j) row[j * out.col_stride] = T(body(first + j));
    }
}

// One block, and the numbers that equations (3) and (9) need. `weight` is c; `largest` is the largest number of the
// net's type. The functions below serve all types and are not inlined, because copies of them would make up a third of
// the library.
struct OutputBlock {
    Loss loss;
    Activation g;
    double a, largest;
    Index n;
    OutputNumbers s, y, weight, parameter = {};
    OutputNumbers x, residual, prime, second;
    OutputNumbers log_x, log_prime, log_second, log_denominator;

    formulas::OutputPoint point(Index k) const {
        const formulas::OutputLogarithm log{log_x[k], log_prime[k], log_second[k], log_denominator[k]};
        return {s[k], x[k], residual[k], prime[k], second[k], log};
    }
};

// c of each output: all 1, one for a row, or one for each output.
inline void gather_weights(const BlockPlace& place, const Matrix<const double>& c, double* out) {
    if (c.cols > 1) return gather(place.of(c), out);
    for (Index i = 0, k = 0; i < place.rows; ++i) {
        const double weight = c.empty() ? 1 : c(place.row + i, 0);
        for (Index j = 0; j < place.columns; ++j, ++k) out[k] = weight;
    }
}

template <class Real>
inline void gather_block(const BlockPlace& place, const LossFunction<Real>& loss, ActivationFunction<Real> g,
                         Matrix<const Real> s, const Target<Real>& y, OutputBlock& block) {
    block.loss = loss.kind;
    block.g = g.kind;
    block.a = double(g.a);
    block.largest = double(formulas::Format<Real>::largest);
    block.n = place.size();
    gather(place.of(s), block.s);
    gather(place.of(y.values), block.y);
    gather_weights(place, y.c, block.weight);
    if (loss.parameter.empty()) return;
    for (Index i = 0, k = 0; i < place.rows; ++i)
        for (Index j = 0; j < place.columns; ++j, ++k) block.parameter[k] = double(loss.parameter[place.column + j]);
}

// x, x - y and g'(s). The residual keeps the digits of x's distance from the value at which g saturates.
[[gnu::noinline]] void outputs_and_slopes(OutputBlock& block) {
    with_activation(block.g, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k) {
            const formulas::Output out = formulas::output<kind>(block.s[k], block.a);
            block.x[k] = value_of(out);
            block.residual[k] = residual_of(out, block.y[k]);
            block.prime[k] = formulas::output_prime<kind>(block.s[k], block.x[k], block.a);
        }
    });
}

// g''(s), after outputs_and_slopes.
[[gnu::noinline, gnu::cold]] void second_derivatives(OutputBlock& block) {
    with_activation(block.g, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k)
            block.second[k] = formulas::output_second<kind>(block.s[k], block.x[k], block.prime[k], block.a);
    });
}

// ln g(s) and its derivatives, after the two above.
[[gnu::noinline, gnu::cold]] void logarithms(OutputBlock& block) {
    with_activation(block.g, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        for (Index k = 0; k < block.n; ++k) {
            const auto log = formulas::output_logarithm<kind>(block.s[k], block.x[k], block.prime[k], block.second[k]);
            block.log_x[k] = log.value;
            block.log_prime[k] = log.prime;
            block.log_second[k] = log.second;
            block.log_denominator[k] = log.denominator;
        }
    });
}

// Cross entropy behind logistic: one loop, because e and x need the same exp(-|s|).
[[gnu::noinline]] void cross_entropies(const OutputBlock& block, double* e, double* slope) {
    FASTBP_INDEPENDENT
    for (Index k = 0; k < block.n; ++k) {
        const formulas::Output out = formulas::output<Activation::logistic>(block.s[k], 0);
        e[k] = formulas::logistic_cross_entropy(block.y[k], block.s[k]);
        slope[k] = residual_of(out, block.y[k]);
    }
}

// e and de/ds of every output of the block.
[[gnu::noinline]] void losses_and_slopes(OutputBlock& block, double* e, double* slope) {
    if (block.loss == Loss::cross_entropy) return cross_entropies(block, e, slope);
    outputs_and_slopes(block);
    if (block.loss == Loss::poisson) {
        for (Index k = 0; k < block.n; ++k) block.second[k] = 0;  // a slope does not depend on it
        logarithms(block);
    }
    with_loss(block.loss, [&](auto tag) {
        constexpr Loss kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k) {
            const formulas::OutputPoint point = block.point(k);
            e[k] = formulas::stored_output_loss<kind>(point, block.y[k], block.parameter[k], block.largest);
            slope[k] = formulas::output_slope<kind>(point, block.y[k], block.parameter[k]);
        }
    });
}

// d2e/ds2 of every output of the block, or its Gauss-Newton part.
[[gnu::noinline, gnu::cold]] void curvatures(OutputBlock& block, Curvature which, double* curvature) {
    const bool whole = which == Curvature::hessian || is_canonical(block.loss, block.g);
    outputs_and_slopes(block);
    second_derivatives(block);
    if (block.loss == Loss::poisson) logarithms(block);
    with_loss(block.loss, [&](auto tag) {
        constexpr Loss kind = decltype(tag)::value;
        for (Index k = 0; k < block.n; ++k) {
            const formulas::OutputPoint point = block.point(k);
            curvature[k] = whole ? formulas::output_curvature<kind>(point, block.y[k], block.parameter[k])
                                 : formulas::output_gauss_newton<kind>(point, block.y[k], block.parameter[k]);
        }
    });
}

}  // namespace
}  // namespace fastbp::loops
