// The last layer's outputs behind an elementwise g, a block at a time: gathered from the tile as float64, then each
// quantity of a loss in a loop of its own, which vectorises also where a row has one output only.
#pragma once

#include "backend/loops/blocks.hpp"

namespace fastbp::loops {
namespace {

constexpr Index outputs_at_a_time = 64;
using OutputNumbers = double[outputs_at_a_time];

// Which outputs of a tile: whole rows where they are narrow, else a part of one row.
struct BlockPlace {
    Index row, rows, column, columns;

    Index size() const { return rows * columns; }
    template <class T>
    Matrix<T> of(const Matrix<T>& m) const {
        return m.row_block(row, row + rows).column_block(column, column + columns);
    }
};

template <class Body>
inline void each_block(Index rows, Index cols, Body body) {
    const Index together = cols < outputs_at_a_time ? outputs_at_a_time / (cols > 0 ? cols : 1) : 1;
    for (Index r = 0; r < rows; r += together)
        for (Index j = 0; j < cols; j += outputs_at_a_time)
            body(BlockPlace{r, rows - r < together ? rows - r : together, j,
                            cols - j < outputs_at_a_time ? cols - j : outputs_at_a_time});
}

template <class T>
inline void gather(const Matrix<const T>& m, double* out) {
    const Extent extent = extent_of(m);
    for (Index r = 0; r < extent.rows; ++r, out += extent.cols) {
        const T* row = row_of(m, r);
        for (Index j = 0; j < extent.cols; ++j) out[j] = double(row[j * m.col_stride]);
    }
}

// out(r, j) = body(k, j) with k the position in the block and j the column in the tile.
template <class T, class Body>
inline void scatter(const BlockPlace& place, const Matrix<T>& out, Body body) {
    const Matrix<T> block = place.of(out);
    Index k = 0;
    for (Index r = 0; r < block.rows; ++r) {
        T* row = row_of(block, r);
        for (Index j = 0; j < block.cols; ++j, ++k) row[j * block.col_stride] = T(body(k));
    }
}

// One block, and what equations (3) and (9) need of it. `weight` is c.
struct OutputBlock {
    Index n;
    OutputNumbers s, y, weight, parameter;
    OutputNumbers x, residual, prime, second;
    OutputNumbers log_x, log_prime, log_second;

    formulas::OutputPoint point(Index k) const {
        return {s[k], x[k], residual[k], prime[k], second[k], {log_x[k], log_prime[k], log_second[k]}};
    }
};

template <class Real>
inline void gather_block(const BlockPlace& place, const LossFunction<Real>& loss, Matrix<const Real> s,
                         const Target<Real>& y, OutputBlock& block) {
    block.n = place.size();
    gather(place.of(s), block.s);
    if (y.classes.empty()) gather(place.of(y.values), block.y);
    Index k = 0;
    for (Index r = place.row; r < place.row + place.rows; ++r)
        for (Index j = place.column; j < place.column + place.columns; ++j, ++k) {
            if (!y.classes.empty()) block.y[k] = double(y.value(r, j));
            block.weight[k] = y.weight(r, j);
            block.parameter[k] = loss.parameter.empty() ? 0.0 : double(loss.parameter[j]);
        }
}

// x, x - y and g'(s). The residual keeps the digits of x's distance from the value at which g saturates.
template <class Real>
inline void outputs_and_slopes(ActivationFunction<Real> g, OutputBlock& block) {
    const double a = double(g.a);
    with_activation(g.kind, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k) {
            const formulas::Output out = formulas::output<kind>(block.s[k], a);
            block.x[k] = out.limit + out.distance;
            block.residual[k] = out.distance - (block.y[k] - out.limit);
            block.prime[k] = formulas::output_prime<kind>(block.s[k], block.x[k], a);
        }
    });
}

// g''(s), after outputs_and_slopes.
template <class Real>
inline void second_derivatives(ActivationFunction<Real> g, OutputBlock& block) {
    const double a = double(g.a);
    with_activation(g.kind, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k)
            block.second[k] = formulas::output_second<kind>(block.s[k], block.x[k], block.prime[k], a);
    });
}

// ln g(s) and its derivatives, after the two above.
template <class Real>
inline void logarithms(ActivationFunction<Real> g, OutputBlock& block) {
    with_activation(g.kind, [&](auto tag) {
        constexpr Activation kind = decltype(tag)::value;
        for (Index k = 0; k < block.n; ++k) {
            const auto log = formulas::output_logarithm<kind>(block.s[k], block.x[k], block.prime[k], block.second[k]);
            block.log_x[k] = log.value;
            block.log_prime[k] = log.prime;
            block.log_second[k] = log.second;
        }
    });
}

// e and de/ds of every output of the block.
template <class Real>
inline void losses_and_slopes(const LossFunction<Real>& loss, ActivationFunction<Real> g, OutputBlock& block, double* e,
                              double* slope) {
    outputs_and_slopes(g, block);
    if (loss.kind == Loss::poisson) {
        second_derivatives(g, block);
        logarithms(g, block);
    }
    with_loss(loss.kind, [&](auto tag) {
        constexpr Loss kind = decltype(tag)::value;
        FASTBP_INDEPENDENT
        for (Index k = 0; k < block.n; ++k) {
            const formulas::OutputPoint point = block.point(k);
            e[k] = formulas::output_loss<kind>(point, block.y[k], block.parameter[k]);
            slope[k] = formulas::output_slope<kind>(point, block.y[k], block.parameter[k]);
        }
    });
}

// d2e/ds2 of every output of the block, or its Gauss-Newton part.
template <class Real>
inline void curvatures(const LossFunction<Real>& loss, ActivationFunction<Real> g, Curvature which, OutputBlock& block,
                       double* curvature) {
    const bool whole = which == Curvature::hessian || is_canonical(loss.kind, g.kind);
    outputs_and_slopes(g, block);
    second_derivatives(g, block);
    if (loss.kind == Loss::poisson) logarithms(g, block);
    with_loss(loss.kind, [&](auto tag) {
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
