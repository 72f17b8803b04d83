// The memory of one call: a tile's values, its target, gradient sums and slots, in one block that the backend allocates
// once. Borrowed from the net's free list, one per concurrent call; nothing in it survives a call.
#pragma once

#include <vector>

#include "execution/model.hpp"
#include "seam/backend.hpp"

namespace fastbp {

template <class Real>
class Workspace {
  public:
    // Room for tiles of `tile` rows and `gradients` gradients. Throws std::bad_alloc.
    Workspace(Backend<Real>& on, const Model& model, Index tile, Index gradients);
    ~Workspace() { on_.release(memory_); }
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    bool fits(Index tile, Index gradients) const { return tile <= tile_ && gradients <= Index(gradients_.size()); }

    // Points the layers at parameters.
    Network<Real> network(const Real* params);
    // Points a sink at a flat gradient.
    Sink<Real> sink(Real* grad, const Blend<Real>* blend_w, const Blend<Real>* blend_b);

    const LossFunction<Real>& loss() const { return loss_; }
    Matrix<Real> x0() const { return x0_; }
    Matrix<Real> y() const { return y_; }
    Vector<std::int32_t> classes() const { return classes_; }
    Vector<double> weights() const { return weights_; }  // tile * d(L)
    Vector<double> example() const { return example_; }  // tile
    const LayerValues<Real>& scratch(Index k) const { return scratch_[std::size_t(k)]; }
    std::vector<LayerValues<Real>>& pass_layers() { return pass_layers_; }
    Vector<Real> gradient(Index k) const { return gradients_[std::size_t(k)]; }
    std::span<const Vector<const Real>> partials(Index count) const { return {partials_.data(), std::size_t(count)}; }
    double& loss_sum(Index group) const { return loss_sums_[group]; }

    // Slots that operations read when they run.
    struct Slots {
        double scale = 1;
        Blend<Real> overwrite{1, 0}, accumulate{1, 1};
        Blend<Real> step_w, step_b;
        StepScalars now;
        double squares = 0, magnitudes = 0;
    };
    Slots& slots() const { return *slots_; }

  private:
    void carve(const Model& model, Index gradients);

    Backend<Real>& on_;
    const Model& model_;
    const Index tile_;
    void* memory_ = nullptr;
    Matrix<Real> x0_, y_;
    Vector<std::int32_t> classes_;
    Vector<double> weights_, example_;
    double* loss_sums_ = nullptr;
    Slots* slots_ = nullptr;
    std::vector<LayerValues<Real>> scratch_, pass_layers_;
    std::vector<Vector<Real>> gradients_;
    std::vector<Vector<const Real>> partials_;
    std::vector<Real> loss_parameter_;
    LossFunction<Real> loss_;
    std::vector<Layer<Real>> layers_;
    std::vector<LayerSink<Real>> sinks_;
};

}  // namespace fastbp
