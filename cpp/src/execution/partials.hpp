// The sum of flat gradients, wherever the caller wants it.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "execution/cooperative.hpp"
#include "execution/model.hpp"

namespace fastbp {

// A member's share of it. Numbers are added one by one, so that no cut changes a bit.
template <class Real>
void add_partials(Operations<Real>& on, const Member& member, const Model& model,
                  std::span<const Vector<const Real>> partials, bool accumulate, const Gradient<Real>& to) {
    const Cut cut{model.parameter_count, Plan::grain, member.team()};
    const Index begin = cut.edge(member.index), end = cut.edge(member.index + 1);
    std::array<Vector<const Real>, Plan::most_parts> parts;
    const auto add = [&](Index first, Index size, Real* part) {
        const Index p = std::max(begin, first), q = std::min(end, first + size);
        if (p >= q) return;
        for (std::size_t k = 0; k < partials.size(); ++k) parts[k] = partials[k].block(p, q);
        on.reduce({parts.data(), partials.size()}, accumulate ? Real(1) : Real(0), {part + (p - first), q - p});
    };
    for (std::size_t k = 0; k < model.layers.size(); ++k) {
        const LayerShape& layer = model.layers[k];
        add(layer.first_w, layer.inputs * layer.outputs, to.w(model, k));
        add(layer.first_b, layer.outputs, to.b(model, k));
    }
}

}  // namespace fastbp
