// A network as data: widths, functions, penalties. Parameters are the caller's and come with every call.
#pragma once

#include <vector>

#include "seam/network.hpp"

namespace fastbp {

struct LayerShape {
    Index inputs = 0, outputs = 0;  // d(l-1), d(l)
    Activation g = Activation::identity;
    double a = 0;
    Index first_w = 0, first_b = 0;  // where w(l) and b(l) begin in the flat parameters
    double dropout = 0;              // the part of the units that a training step drops
};

struct Model {
    std::vector<LayerShape> layers;
    Loss loss = Loss::none;
    std::vector<double> loss_parameter;  // one per output, or empty
    double l2 = 0, l1 = 0;
    bool deterministic = false;
    bool weights_by_outputs = false;  // w(l) lies as (d(l), d(l-1)), in the parameters and in every gradient
    bool on_device = false;           // parameters and results lie in memory that the process cannot read
    Index parameter_count = 0;

    Index inputs() const { return layers.front().inputs; }
    Index outputs() const { return layers.back().outputs; }
    Activation output_activation() const { return layers.back().g; }
    bool has_penalty() const { return l2 != 0 || l1 != 0; }
    // sum of d(1) .. d(L)
    Index units() const {
        Index sum = 0;
        for (const LayerShape& layer : layers) sum += layer.outputs;
        return sum;
    }
    // How many numbers a forward pass of n rows keeps for a later backward pass: x(l), and s(l) where g' needs it.
    Index kept_size(Index n) const {
        Index sum = 0;
        for (const LayerShape& layer : layers) sum += n * layer.outputs * (derivative_needs_s(layer.g) ? 2 : 1);
        return sum;
    }
};

// Where parameters lie: in one flat array, or each w(l) and b(l) by itself.
template <class Real>
struct Parameters {
    const Real* flat = nullptr;
    const void* const* weights = nullptr;
    const void* const* biases = nullptr;

    const Real* w(const Model& model, std::size_t k) const {
        return weights != nullptr ? static_cast<const Real*>(weights[k]) : flat + model.layers[k].first_w;
    }
    const Real* b(const Model& model, std::size_t k) const {
        return biases != nullptr ? static_cast<const Real*>(biases[k]) : flat + model.layers[k].first_b;
    }
};

}  // namespace fastbp
