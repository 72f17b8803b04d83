// The core's own description of the example, for drivers that call below the C door.
#pragma once

#include "example.hpp"
#include "execution/job.hpp"
#include "execution/model.hpp"
#include "execution/team_scratch.hpp"

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

// The gradient of the mean loss over all rows, into grad.
inline Job<double> gradient_job(const Example& example, const Model& model, double* grad) {
    Job<double> job;
    job.params = {example.params.data()};
    job.rows.x_view = dense(example.X.data(), example.rows, model.inputs());
    job.rows.range = {nullptr, 0, example.rows};
    const auto* y = reinterpret_cast<const std::byte*>(example.y.data());
    job.seed = LossSeed{{y, NumberType::int32, false, example.rows, 1, 4, 4}, true};
    job.scale = 1.0 / double(example.rows);
    job.outputs.grad = {grad};
    return job;
}

// The loss of the last job, in the process's memory.
template <class Real>
double total_loss(const TeamScratch<Real>& scratch, const Plan& plan) {
    double sum = 0;
    const Vector<const double> parts = scratch.loss_parts(plan);
    for (Index k = 0; k < parts.size; ++k) sum += parts[k];
    return sum;
}

}  // namespace fastbp::test
