#include "execution/workspace.hpp"

#include <algorithm>
#include <new>

namespace fastbp {
namespace {

// Hands out pieces of one block, each on its own cache line. Without memory it only counts.
class Carver {
  public:
    explicit Carver(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

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

// Where s must be kept apart from x: g' needs it, or the loss behind this layer does.
bool keeps_s(const Model& model, std::size_t k) {
    const bool last = k + 1 == model.layers.size();
    return derivative_needs_s(model.layers[k].g) || (last && loss_needs_s(model.loss, model.layers[k].g));
}

}  // namespace

template <class Real>
Workspace<Real>::Workspace(Backend<Real>& on, const Model& model, Index tile, Index gradients)
    : on_(on), model_(model), tile_(tile) {
    carve(model, gradients);
    loss_parameter_.assign(model.loss_parameter.begin(), model.loss_parameter.end());
    loss_ = {model.loss, {loss_parameter_.empty() ? nullptr : loss_parameter_.data(), Index(loss_parameter_.size())}};
}

template <class Real>
void Workspace<Real>::carve(const Model& model, Index gradients) {
    const Index d0 = model.inputs(), dL = model.outputs(), groups = std::max<Index>(gradients, 1);
    const auto lay_out = [&](Carver carver) {
        scratch_.clear();
        gradients_.clear();
        slots_ = carver.take<Slots>(1);
        loss_sums_ = carver.take<double>(groups);
        weights_ = {carver.take<double>(tile_ * dL), tile_ * dL};
        example_ = {carver.take<double>(tile_), tile_};
        classes_ = {carver.take<std::int32_t>(tile_), tile_};
        x0_ = dense(carver.take<Real>(tile_ * d0), tile_, d0);
        y_ = dense(carver.take<Real>(tile_ * dL), tile_, dL);
        for (std::size_t k = 0; k < model.layers.size(); ++k) {
            const Index d = model.layers[k].outputs;
            const Matrix<Real> x = dense(carver.take<Real>(tile_ * d), tile_, d);
            const Matrix<Real> s = keeps_s(model, k) ? dense(carver.take<Real>(tile_ * d), tile_, d) : x;
            scratch_.push_back({s, x, dense(carver.take<Real>(tile_ * d), tile_, d), {}});
        }
        for (Index k = 0; k < gradients; ++k)
            gradients_.push_back({carver.take<Real>(model.parameter_count), model.parameter_count});
        return carver.used();
    };
    const std::size_t bytes = lay_out(Carver(nullptr));
    memory_ = on_.allocate(bytes);
    if (memory_ == nullptr) throw std::bad_alloc();
    lay_out(Carver(memory_));
    new (slots_) Slots();
    partials_.assign(gradients_.begin(), gradients_.end());
    pass_layers_.resize(model.layers.size());
    layers_.resize(model.layers.size());
    sinks_.resize(model.layers.size());
}

template <class Real>
Network<Real> Workspace<Real>::network(const Real* params) {
    for (std::size_t k = 0; k < layers_.size(); ++k) {
        const LayerShape& shape = model_.layers[k];
        layers_[k] = {dense(params + shape.first_w, shape.inputs, shape.outputs),
                      {params + shape.first_b, shape.outputs},
                      {shape.g, Real(shape.a)}};
    }
    return layers_;
}

template <class Real>
Sink<Real> Workspace<Real>::sink(Real* grad, const Blend<Real>* blend_w, const Blend<Real>* blend_b) {
    for (std::size_t k = 0; k < sinks_.size(); ++k) {
        const LayerShape& shape = model_.layers[k];
        sinks_[k] = {dense(grad + shape.first_w, shape.inputs, shape.outputs),
                     {grad + shape.first_b, shape.outputs},
                     blend_w,
                     blend_b};
    }
    return sinks_;
}

template class Workspace<float>;
template class Workspace<double>;

}  // namespace fastbp
