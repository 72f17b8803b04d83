#include "execution/team_scratch.hpp"

#include <algorithm>

#include "seam/error.hpp"

namespace fastbp {
namespace {

// Hands out pieces of one block, each on its own cache line. Without memory it only counts.
class ArenaLayout {
  public:
    explicit ArenaLayout(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

    template <class T>
    T* take(Index count) {
        T* piece = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
        used_ += (std::size_t(count) * sizeof(T) + 63) / 64 * 64;
        return piece;
    }
    std::size_t used() const { return used_; }

  private:
    std::byte* memory_;
    std::size_t used_ = 0;
};

// Where s must be kept apart from x: g' needs it, or the loss behind this layer does, or dropout changes x.
bool keeps_s(const Model& model, std::size_t k) {
    const bool last = k + 1 == model.layers.size();
    return derivative_needs_s(model.layers[k].g) || model.layers[k].dropout > 0 ||
           (last && loss_needs_s(model.loss, model.layers[k].g));
}

// w(l) in memory, as the lecture has it.
template <class T>
Matrix<T> weights_at(const Model& model, const LayerShape& layer, T* memory) {
    if (model.weights_by_outputs) return dense(memory, layer.outputs, layer.inputs).transposed();
    return dense(memory, layer.inputs, layer.outputs);
}

// Of one half of a team's SharedSums.
Index products_size(const Model& model, const Plan& plan) {
    Index widest = 0;
    for (const LayerShape& layer : model.layers)
        if (plan.cuts_inner(layer.inputs)) widest = std::max(widest, layer.outputs);
    return SharedSums<float>::products_size(plan, widest);
}

// Lays out twice: once to count, once over the block.
template <class Real, class LayOut>
std::unique_ptr<Block<Real>> lay_out_twice(Backend<Real>& on, LayOut lay_out) {
    ArenaLayout counter(nullptr);
    lay_out(counter);
    auto block = std::make_unique<Block<Real>>(on, counter.used());
    ArenaLayout layout(block->memory());
    lay_out(layout);
    return block;
}

}  // namespace

template <class Real>
Block<Real>::Block(Backend<Real>& on, std::size_t bytes)
    : on_(on), memory_(taken(on, std::max<std::size_t>(bytes, 64), on.name())) {}

template <class Real>
TileValues<Real>::TileValues(Backend<Real>& on, const Model& model, Index tile, const ScratchSpec& needs) {
    const Index d0 = model.inputs(), dL = model.outputs();
    block_ = lay_out_twice(on, [&](ArenaLayout& layout) {
        layers.clear();
        weights = {layout.take<double>(tile * dL), tile * dL};
        example = {layout.take<double>(tile), tile};
        classes = {layout.take<std::int32_t>(tile), tile};
        if (needs.kept_per_row > 0) {
            const Index kept = tile * needs.kept_per_row;
            compressed_x0 = {layout.take<Index>(tile + 1), layout.take<Index>(kept), layout.take<Real>(kept)};
        } else {
            x0 = dense(layout.take<Real>(tile * d0), tile, d0);
        }
        y = dense(layout.take<Real>(tile * dL), tile, dL);
        for (std::size_t k = 0; k < model.layers.size(); ++k) {
            const Index d = model.layers[k].outputs;
            const Matrix<Real> x = dense(layout.take<Real>(tile * d), tile, d);
            const Matrix<Real> s = keeps_s(model, k) ? dense(layout.take<Real>(tile * d), tile, d) : x;
            layers.push_back({s, x, dense(layout.take<Real>(tile * d), tile, d), {}});
        }
        tangents = {};
        if (!needs.tangents) return;
        const auto take = [&](Index d) { return dense(layout.take<Real>(tile * d), tile, d); };
        if (needs.x_dot) tangents.x0 = take(d0);
        for (const LayerShape& layer : model.layers) {
            const Index d = layer.outputs;
            tangents.layers.push_back({take(d), take(d), take(d)});
            tangents.u.push_back(take(d));
        }
    });
}

template <class Real>
MemberScratch<Real>::MemberScratch(Backend<Real>& on, const Model& model, std::shared_ptr<TileValues<Real>> tile)
    : model_(model),
      tile_(std::move(tile)),
      pass_layers_(model.layers.size()),
      tangent_layers_(model.layers.size()),
      layers_(model.layers.size()),
      direction_(model.layers.size()),
      sinks_(model.layers.size()),
      steps_(model.layers.size()) {
    const std::vector<Real> parameter(model.loss_parameter.begin(), model.loss_parameter.end());
    Real* parameter_memory = nullptr;
    block_ = lay_out_twice(on, [&](ArenaLayout& layout) {
        device_slots_ = layout.take<Slots<Real>>(1);
        parameter_memory = layout.take<Real>(Index(parameter.size()));
    });
    loss_.kind = model.loss;
    if (parameter.empty()) return;
    on.upload(parameter.data(), parameter_memory, parameter.size() * sizeof(Real));
    loss_.parameter = {parameter_memory, Index(parameter.size())};
}

template <class Real>
Network<Real> MemberScratch<Real>::network(const Parameters<Real>& params) {
    return point(layers_, params);
}

template <class Real>
Network<Real> MemberScratch<Real>::direction(const Real* params_dot) {
    return point(direction_, {params_dot});
}

template <class Real>
Network<Real> MemberScratch<Real>::point(std::vector<Layer<Real>>& layers, const Parameters<Real>& params) const {
    for (std::size_t k = 0; k < layers.size(); ++k) {
        const LayerShape& shape = model_.layers[k];
        layers[k] = {weights_at(model_, shape, params.w(model_, k)),
                     {params.b(model_, k), shape.outputs},
                     {shape.g, Real(shape.a)}};
    }
    return layers;
}

template <class Real>
Sink<Real> MemberScratch<Real>::sink(const Gradient<Real>& grad, const Blend<Real>* blend_w,
                                     const Blend<Real>* blend_b) {
    for (std::size_t k = 0; k < sinks_.size(); ++k) {
        const LayerShape& shape = model_.layers[k];
        sinks_[k] = {
            weights_at(model_, shape, grad.w(model_, k)), {grad.b(model_, k), shape.outputs}, blend_w, blend_b};
    }
    return sinks_;
}

template <class Real>
std::span<const LayerStep<Real>> MemberScratch<Real>::steps(const StepRule& rule, double l2, double l1, Real* params,
                                                            std::span<const Vector<Real>> moments) {
    for (std::size_t k = 0; k < steps_.size(); ++k) {
        const LayerShape& shape = model_.layers[k];
        const auto w = [&](Real* flat) { return dense(flat + shape.first_w, shape.inputs, shape.outputs); };
        const auto b = [&](Real* flat) { return Vector<Real>{flat + shape.first_b, shape.outputs}; };
        LayerStep<Real>& step = steps_[k];
        step = {&rule, &device_slots_->now, l2, l1, w(params), b(params), {}, {}};
        for (std::size_t j = 0; j < moments.size(); ++j) {
            step.moments_of_w[j] = w(moments[j].data);
            step.moments_of_b[j] = b(moments[j].data);
        }
    }
    return steps_;
}

template <class Real>
TeamScratch<Real>::TeamScratch(Backend<Real>& on, const Model& model, const Plan& plan, const ScratchSpec& needs)
    : tile_(plan.tile), shares_tile_(plan.shares_operations()), needs_(needs), numbers_(4 * std::size_t(plan.parts)) {
    std::shared_ptr<TileValues<Real>> tile;
    members_.reserve(std::size_t(needs.members));
    for (int m = 0; m < needs.members; ++m) {
        if (tile == nullptr || !shares_tile_) tile = std::make_shared<TileValues<Real>>(on, model, plan.tile, needs);
        members_.emplace_back(on, model, tile);
    }
    const int gradients = plan.partial_gradients() + needs.extra_gradients;
    products_.size = 2 * products_size(model, plan);
    loss_sums_.size = std::max(plan.parts, needs.members);
    block_ = lay_out_twice(on, [&](ArenaLayout& layout) {
        loss_sums_.data = layout.take<double>(loss_sums_.size);
        ledger_ = layout.take<Ledger>(1);
        gradients_.clear();
        for (int k = 0; k < gradients; ++k)
            gradients_.push_back({layout.take<Real>(model.parameter_count), model.parameter_count});
        products_.data = layout.take<Real>(products_.size);
    });
    start_ledger(on, 1);
    partials_.assign(gradients_.begin(), gradients_.end());
}

template <class Real>
void TeamScratch<Real>::start_ledger(Backend<Real>& on, Index entries) {
    if (entries > entries_size_) {
        entries_size_ = 0;
        entries_ = std::make_unique<Block<Real>>(on, std::size_t(entries) * sizeof(LossEntry));
        entries_size_ = entries;
    }
    const Ledger empty{ledger_entries()};
    on.upload(&empty, ledger_, sizeof empty);
}

template <class Real>
bool TeamScratch<Real>::fits(const Plan& plan, const ScratchSpec& needs) const {
    return plan.tile <= tile_ && plan.shares_operations() == shares_tile_ && needs_.cover(needs) &&
           plan.parts <= int(loss_sums_.size) && 4 * plan.parts <= int(numbers_.size()) &&
           2 * products_size(members_.front().model(), plan) <= products_.size &&
           plan.partial_gradients() + needs.extra_gradients <= int(gradients_.size());
}

template class Block<float>;
template class Block<double>;
template struct TileValues<float>;
template struct TileValues<double>;
template class MemberScratch<float>;
template class MemberScratch<double>;
template class TeamScratch<float>;
template class TeamScratch<double>;

}  // namespace fastbp
