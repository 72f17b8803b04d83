// The core's own description of the example, for drivers that call below the C door.
#pragma once

#include "example.hpp"
#include "execution/model.hpp"

namespace fastbp::test {

inline Model model_of(const Example& example) {
    Model model;
    for (std::size_t l = 0; l < example.g.size(); ++l) {
        LayerShape layer{
            example.widths[l], example.widths[l + 1], Activation(example.g[l]), 0, model.parameter_count, 0};
        layer.first_b = layer.first_w + layer.inputs * layer.outputs;
        model.parameter_count = layer.first_b + layer.outputs;
        model.layers.push_back(layer);
    }
    model.loss = Loss::cross_entropy;
    return model;
}

}  // namespace fastbp::test
