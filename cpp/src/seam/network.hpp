// The data of a pass: the network, the values of one tile of rows, the target, and the destination of gradients.
// Everything here is a list of views and owns no memory. Symbols and equations: NOTATION.md.
#pragma once

#include <span>

#include "seam/enums.hpp"
#include "seam/step_rule.hpp"
#include "seam/views.hpp"

namespace fastbp {

template <class Real>
struct ActivationFunction {
    Activation kind = Activation::identity;
    Real a = 0;  // the parameter of leaky_relu and elu
};

template <class Real>
struct LossFunction {
    Loss kind = Loss::none;
    Vector<const Real> parameter = {};  // huber's delta or pinball's quantile, one per output; else empty

    FASTBP_VIEW double parameter_of(Index j) const { return parameter.empty() ? 0.0 : double(parameter[j]); }
};

// Layer l: w (d(l-1), d(l)), b (d(l),), g.
template <class Real>
struct Layer {
    Matrix<const Real> w;
    Vector<const Real> b;
    ActivationFunction<Real> g;
};

template <class Real>
using Network = std::span<const Layer<Real>>;

// The input of a layer: a matrix, or CSR rows at layer 1. A row contains each column at most once.
template <class Real>
struct Input {
    Matrix<const Real> dense;
    const Csr<Real>* csr = nullptr;
};

// The dropout of a tile. Whether a unit is dropped is a function of seed, step, layer, row of the data and unit. Kept
// values are divided by `keep`. Not active if `step` is null.
struct Dropout {
    double keep = 1;
    std::uint64_t seed = 0;
    const Index* step = nullptr;  // read when the operation runs
    std::uint32_t layer = 0;
    RowRange rows;  // the tile's rows in the data
    Index first_unit = 0;

    bool active() const { return step != nullptr; }
    Dropout row_block(Index begin, Index end) const {
        return {keep, seed, step, layer, rows.block(begin, end), first_unit};
    }
    Dropout column_block(Index begin) const { return {keep, seed, step, layer, rows, first_unit + begin}; }
};

// The values of one tile in one layer. If g' does not need s, s and x share memory. With active dropout they do not: x
// is the result of dropout, and s holds the argument of g', which is g(s) if g' is computed from it. u is delta(l+1)
// w(l+1)^T, kept for the R-operator only and otherwise empty.
template <class Real>
struct LayerValues {
    Matrix<Real> s, x, delta, u;
    Dropout dropout = {};

    LayerValues row_block(Index begin, Index end) const {
        return {s.row_block(begin, end), x.row_block(begin, end), delta.row_block(begin, end), u.row_block(begin, end),
                dropout.row_block(begin, end)};
    }
    LayerValues column_block(Index begin, Index end) const {
        return {s.column_block(begin, end), x.column_block(begin, end), delta.column_block(begin, end),
                u.column_block(begin, end), dropout.column_block(begin)};
    }
};

// Bounds on the magnitudes of the x(l-1) and of the delta(l) of a pass; inf if one of the numbers is nan.
struct Magnitudes {
    double x = 0, delta = 0;
};

template <class Real>
struct Pass {
    Input<Real> x0;
    std::span<const LayerValues<Real>> layer;

    Input<Real> input(Index k) const { return k == 0 ? x0 : Input<Real>{layer[k - 1].x}; }
    const LayerValues<Real>& last() const { return layer[layer.size() - 1]; }
};

// s_dot, x_dot and delta_dot of one tile in one layer: derivatives along a direction.
template <class Real>
struct LayerTangents {
    Matrix<Real> s, x, delta;

    LayerTangents row_block(Index begin, Index end) const {
        return {s.row_block(begin, end), x.row_block(begin, end), delta.row_block(begin, end)};
    }
};

// The tangents of a pass. x0 or net is empty if the direction does not contain the inputs or the parameters. The w and
// b of net are w_dot and b_dot.
template <class Real>
struct TangentPass {
    Matrix<const Real> x0;
    Network<Real> net;
    std::span<const LayerTangents<Real>> layer;

    Matrix<const Real> input(Index k) const { return k == 0 ? x0 : Matrix<const Real>(layer[k - 1].x); }
    Matrix<const Real> w(Index k) const { return net.empty() ? Matrix<const Real>{} : net[k].w; }
};

// True if all weights in a row of c are 0. An empty c means that all weights are 1.
FASTBP_VIEW bool is_masked(const Matrix<const double>& c, Index row) {
    for (Index j = 0; j < c.cols; ++j)
        if (c(row, j) != 0) return false;
    return !c.empty();
}

// y of a tile, as numbers or as class numbers, and the weights c: (N, 1) or (N, d(L)), empty where all are one.
// A target of weight 0 is not read. `scale` is read when the operation runs.
template <class Real>
struct Target {
    Matrix<const Real> values;
    Vector<const std::int32_t> classes;
    Matrix<const double> c;
    const double* scale = nullptr;

    FASTBP_VIEW Real value(Index r, Index j) const { return classes.empty() ? values(r, j) : Real(classes[r] == j); }
    FASTBP_VIEW double weight(Index r, Index j) const { return c.empty() ? 1.0 : c(r, c.cols == 1 ? 0 : j); }
    Target row_block(Index begin, Index end) const {
        return {values.row_block(begin, end), classes.block(begin, end), c.row_block(begin, end), scale};
    }
};

// The results of output_delta besides delta, in float64. It adds the scaled and weighted loss of all rows to `sum`. If
// `example` is not empty, it becomes each row's e_n without weights and scale.
struct LossSlots {
    double* sum = nullptr;
    Vector<double> example = {};
};

// target = beta target + alpha (..): overwrite (1, 0), accumulate (1, 1), plain SGD (-lr, 1 - lr weight_decay).
// beta = 0 never reads the target.
template <class Real>
struct Blend {
    Real alpha = 1, beta = 0;
};

// The destination of de/dw(l) and de/db(l). The blends are read when the operation runs, so that they may change
// between runs of a recorded step.
template <class Real>
struct LayerSink {
    Matrix<Real> w;
    Vector<Real> b;
    const Blend<Real>* blend_w = nullptr;
    const Blend<Real>* blend_b = nullptr;
};

template <class Real>
using Sink = std::span<const LayerSink<Real>>;

// One layer's parameters, and the operands of a step on them besides the gradient.
template <class Real>
struct LayerStep {
    const StepRule* rule = nullptr;
    const StepScalars* now = nullptr;  // read when the operation runs
    double l2 = 0, l1 = 0;             // of w
    Matrix<Real> w;                    // contiguous rows
    Vector<Real> b;
    Matrix<Real> moments_of_w[most_moments];
    Vector<Real> moments_of_b[most_moments];

    // Rows of w, without b.
    LayerStep rows_of_w(Index begin, Index end) const {
        LayerStep block{rule, now, l2, l1, w.row_block(begin, end), {}, {}, {}};
        for (int k = 0; k < moment_count(*rule); ++k) block.moments_of_w[k] = moments_of_w[k].row_block(begin, end);
        return block;
    }
    // A part of b, without w.
    LayerStep part_of_b(Index begin, Index end) const {
        LayerStep block{rule, now, l2, l1, {}, b.block(begin, end), {}, {}};
        for (int k = 0; k < moment_count(*rule); ++k) block.moments_of_b[k] = moments_of_b[k].block(begin, end);
        return block;
    }
};

}  // namespace fastbp
