// The memory of one call. A TeamScratch holds the gradient sums and loss slots that the members of a team share, and a
// MemberScratch for each member: the values of a tile, and the lists of views that form a pass. If the members share
// their operations, they share the values too. A call borrows the scratch from the net's free list. Only the tuners'
// measurements outlive the call.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <memory_resource>
#include <vector>

#include "execution/plan.hpp"
#include "execution/shared_sums.hpp"
#include "execution/team_size_tuner.hpp"
#include "seam/backend.hpp"
#include "seam/error.hpp"

namespace fastbp {

// What a call needs in addition to its plan.
struct ScratchSpec {
    int members = 1;
    int extra_gradients = 0;
    bool tangents = false, x_dot = false;
    Index kept_per_row = 0;  // > 0: X is in compressed rows, of at most so many numbers

    // True if scratch made for this is enough for the other, too.
    bool cover(const ScratchSpec& other) const {
        return other.members <= members && (tangents || !other.tangents) && (x_dot || !other.x_dot) &&
               (kept_per_row > 0) == (other.kept_per_row > 0) && other.kept_per_row <= kept_per_row;
    }
};

// Memory of the backend. Throws OutOfMemory, or Error where memory is not what is missing.
template <class Real>
void* taken(Backend<Real>& on, std::size_t bytes, const char* device) {
    void* memory = on.allocate(bytes);
    if (memory != nullptr) return memory;
    if (const char* failure = on.failure()) throw Error(ErrorKind::runtime, failure);
    throw OutOfMemory(bytes, device);
}

// One block of the backend's memory, given back with its owner.
template <class Real>
class Block {
  public:
    // Throws as `taken`.
    Block(Backend<Real>& on, std::size_t bytes);
    ~Block() { on_.release(memory_); }
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    void* memory() const { return memory_; }

  private:
    Backend<Real>& on_;
    void* memory_;
};

// The tangents of one tile, and u of every layer: for the R-operator only.
template <class Real>
struct TileTangents {
    Matrix<Real> x0;
    std::vector<LayerTangents<Real>> layers;
    std::vector<Matrix<Real>> u;
};

// The values of one tile: input, target, weights, and s, x and delta of every layer.
template <class Real>
struct TileValues {
    TileValues(Backend<Real>& on, const Model& model, Index tile, const ScratchSpec& needs);

    Matrix<Real> x0, y;
    CsrTile<Real> compressed_x0;  // in the place of x0, where X is in compressed rows
    Vector<std::int32_t> classes;
    Vector<double> weights;  // tile * d(L)
    Vector<double> example;  // tile
    std::vector<LayerValues<Real>> layers;
    TileTangents<Real> tangents;  // empty lists where there are none

  private:
    std::unique_ptr<Block<Real>> block_;
};

// Numbers that operations read when they run, and some that they write.
template <class Real>
struct Slots {
    double scale = 1;
    Blend<Real> overwrite{1, 0}, accumulate{1, 1};
    Blend<Real> step_w, step_b;
    StepScalars now;
    double squares = 0, magnitudes = 0;
    Magnitudes factors;        // of the member's tiles
    double largest = 0;        // magnitude in a gradient
    Index refused_place = -1;  // of a number of a gradient that no step can use
    double clip = 1;
    Index step = 0;
    Index first_row = 0;
    Index entry = 0;  // of the ledger
};

// The views and slots of one member. Members never write to the same list.
template <class Real>
class MemberScratch {
  public:
    MemberScratch(Backend<Real>& on, const Model& model, std::shared_ptr<TileValues<Real>> tile);

    const Model& model() const { return model_; }
    const TileValues<Real>& tile() const { return *tile_; }
    const LossFunction<Real>& loss() const { return loss_; }
    std::vector<LayerValues<Real>>& pass_layers() { return pass_layers_; }
    std::vector<LayerTangents<Real>>& tangent_layers() { return tangent_layers_; }
    // The slots that operations read lie in the backend's memory. upload_slots copies slots() there.
    Slots<Real>& slots() { return slots_; }
    Slots<Real>& device_slots() const { return *device_slots_; }
    void upload_slots(Backend<Real>& on) { on.upload(&slots_, device_slots_, sizeof slots_); }

    // Points the layers at parameters.
    Network<Real> network(const Parameters<Real>& params);
    // The same for a direction in parameters.
    Network<Real> direction(const Real* params_dot);
    // Points a sink at a gradient.
    Sink<Real> sink(const Gradient<Real>& grad, const Blend<Real>* blend_w, const Blend<Real>* blend_b);

    // The layers' steps on flat parameters and moments.
    std::span<const LayerStep<Real>> steps(const StepRule& rule, double l2, double l1, Real* params,
                                           std::span<const Vector<Real>> moments);

  private:
    Network<Real> point(std::vector<Layer<Real>>& layers, const Parameters<Real>& params) const;

    const Model& model_;
    std::shared_ptr<TileValues<Real>> tile_;
    std::unique_ptr<Block<Real>> block_;
    Slots<Real> slots_;
    Slots<Real>* device_slots_ = nullptr;
    LossFunction<Real> loss_;
    std::vector<LayerValues<Real>> pass_layers_;
    std::vector<LayerTangents<Real>> tangent_layers_;
    std::vector<Layer<Real>> layers_, direction_;
    std::vector<LayerSink<Real>> sinks_;
    std::vector<LayerStep<Real>> steps_;
};

// Why a team stopped before it was done.
enum class Stop : int { none = 0, interrupted, callback_failed, not_finite, gradient_refused };

// The number that made a team refuse a step: its place in the flat gradient.
struct Refused {
    Index place = -1;
    double number = 0;
};

template <class Real>
class TeamScratch {
  public:
    // For a team that carries out `plan`.
    TeamScratch(Backend<Real>& on, const Model& model, const Plan& plan, const ScratchSpec& needs);

    bool fits(const Plan& plan, const ScratchSpec& needs) const;
    MemberScratch<Real>& member(int index) { return members_[std::size_t(index)]; }
    Vector<Real> gradient(int k) const { return gradients_[std::size_t(k)]; }
    std::span<const Vector<const Real>> partials(int first, int count) const {
        return {partials_.data() + first, std::size_t(count)};
    }
    // Of a group of rows; or, where members share their operations, the same sum for each member. In the backend's
    // memory.
    double& loss_sum(int part) const { return loss_sums_.data[part]; }
    // The parts of the loss of a job that was carried out by `plan`.
    Vector<const double> loss_parts(const Plan& plan) const {
        return {loss_sums_.data, plan.shares_operations() ? 1 : plan.parts};
    }
    // Clears the ledger and makes room for so many entries.
    void start_ledger(Backend<Real>& on, Index entries);
    Ledger* ledger() const { return ledger_; }
    LossEntry* ledger_entries() const { return static_cast<LossEntry*>(entries_->memory()); }
    // For lists that the calling thread needs during the call. What they free is kept for the next call.
    std::pmr::memory_resource* host_memory() { return &host_memory_; }
    SharedSums<Real> shared_sums(const Plan& plan) {
        return {plan, numbers_.data(), products_.data, products_.size / 2};
    }

    // The first reason counts. To be looked at where all members look at the same time.
    void stop(Stop why) {
        Stop none = Stop::none;
        stop_.compare_exchange_strong(none, why, std::memory_order_relaxed);
    }
    void refuse(Refused number) {
        refused_ = number;
        stop(Stop::gradient_refused);
    }
    const Refused& refused() const { return refused_; }
    Stop stopped() const { return stop_.load(std::memory_order_relaxed); }
    TeamSizeTuner& tuner(Work work) { return tuners_[std::size_t(work)]; }
    void start() { stop_.store(Stop::none, std::memory_order_relaxed); }

  private:
    const Index tile_;
    const bool shares_tile_;
    const ScratchSpec needs_;
    std::vector<MemberScratch<Real>> members_;
    std::unique_ptr<Block<Real>> block_;
    std::vector<Vector<Real>> gradients_;
    std::vector<Vector<const Real>> partials_;
    Vector<double> loss_sums_;
    Ledger* ledger_ = nullptr;
    std::unique_ptr<Block<Real>> entries_;
    Index entries_size_ = 0;
    std::pmr::unsynchronized_pool_resource host_memory_{{0, std::size_t(1) << 22}};
    std::vector<double> numbers_;
    Vector<Real> products_;
    std::atomic<Stop> stop_{Stop::none};
    Refused refused_;
    std::array<TeamSizeTuner, kinds_of_work> tuners_;
};

}  // namespace fastbp
