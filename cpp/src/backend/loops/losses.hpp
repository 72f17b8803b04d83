// Equation (3) and its tangent (9) over the rows of a tile.
#pragma once

#include "backend/loops/output_blocks.hpp"
#include "backend/loops/softmax_losses.hpp"

namespace fastbp::loops {
namespace {

// (3) behind an elementwise g. An output of weight 0 contributes 0, even if its numbers are NaN.
template <class Real>
void elementwise_output_delta(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                              const Target<Real>& y, Matrix<Real> delta, LossSlots slots) {
    const double scale = *y.scale;
    double sum = 0;
    each_block(s.rows, s.cols, [&](const BlockPlace& place) {
        OutputBlock block;
        OutputNumbers e, slope;
        gather_block(place, loss, g, s, y, block);
        losses_and_slopes(block, e, slope);
        const double* c = block.weight;
        for (Index i = 0, k = 0; i < place.rows; ++i) {
            double plain = 0;
            for (Index j = 0; j < place.columns; ++j, ++k) {
                plain += c[k] == 0 ? 0.0 : e[k];
                sum += c[k] == 0 ? 0.0 : c[k] * e[k];
            }
            if (slots.example.empty()) continue;
            double& example = slots.example[place.row + i];
            example = place.column == 0 ? plain : example + plain;
        }
        if (delta.empty()) return;
        scatter(place.of(delta), [&](Index k) { return c[k] == 0 ? 0.0 : c[k] * scale * slope[k]; });
    });
    *slots.sum += scale * sum;
}

template <bool unit, class Real>
void output_delta(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                  Matrix<const Real> x, const Target<Real>& y, Matrix<Real> delta, LossSlots slots) {
    if (!loss_needs_s(loss.kind, g.kind)) s = x;
    if (!couples_columns(g.kind)) return elementwise_output_delta(loss, g, s, y, delta, slots);
    double sum = 0;
    softmax_output_delta<unit>(loss, s, x, y, delta, [&](Index r, RowLoss row) {
        sum += row.weighted;
        if (!slots.example.empty()) slots.example[r] = row.plain;
    });
    *slots.sum += *y.scale * sum;
}

// (9) behind an elementwise g: delta is a function of s alone, so delta_dot = c scale (d2e/ds2) s_dot.
template <class Real>
[[gnu::cold]] void elementwise_output_delta_tangent(const LossFunction<Real>& loss, ActivationFunction<Real> g,
                                                    Matrix<const Real> s, const Target<Real>& y,
                                                    Matrix<const Real> s_dot, Matrix<Real> delta_dot, Curvature which) {
    const double scale = *y.scale;
    each_block(s.rows, s.cols, [&](const BlockPlace& place) {
        OutputBlock block;
        OutputNumbers curvature, along;
        gather_block(place, loss, g, s, y, block);
        curvatures(block, which, curvature);
        gather(place.of(s_dot), along);
        scatter(place.of(delta_dot), [&](Index k) {
            return block.weight[k] == 0 ? 0.0 : block.weight[k] * scale * curvature[k] * along[k];
        });
    });
}

template <bool unit, class Real>
void output_delta_tangent(const LossFunction<Real>& loss, ActivationFunction<Real> g, Matrix<const Real> s,
                          Matrix<const Real> x, const Target<Real>& y, Matrix<const Real> s_dot, Matrix<Real> delta_dot,
                          Curvature which) {
    if (!loss_needs_s(loss.kind, g.kind)) s = x;
    if (couples_columns(g.kind))
        softmax_output_delta_tangent<unit>(loss, s, x, y, s_dot, delta_dot, which);
    else
        elementwise_output_delta_tangent(loss, g, s, y, s_dot, delta_dot, which);
}

}  // namespace
}  // namespace fastbp::loops
