// A net of one type of numbers, over the backend of its device.
#pragma once

#include <array>
#include <limits>
#include <memory_resource>
#include <span>

#include "api/memory_use.hpp"
#include "api/net.hpp"
#include "api/targets.hpp"
#include "backend/make_backend.hpp"
#include "execution/runner.hpp"
#include "training/epoch.hpp"

namespace fastbp {

// The layers' places in the caller's memory, for one call: a list on the stack, but for very deep nets.
template <class Real>
class LayerList {
  public:
    template <class Make>
    LayerList(std::size_t layers, Make make) : list_(&resource_) {
        list_.reserve(layers);
        for (std::size_t k = 0; k < layers; ++k) list_.push_back(make(k));
    }
    LayerValues<Real>& back() { return list_.back(); }
    std::span<const LayerValues<Real>> span() const { return list_; }

  private:
    alignas(LayerValues<Real>) std::array<std::byte, 32 * sizeof(LayerValues<Real>)> memory_;
    std::pmr::monotonic_buffer_resource resource_{memory_.data(), memory_.size()};
    std::pmr::vector<LayerValues<Real>> list_;
};

template <class Real>
class NetOf final : public fastbp_net {
  public:
    NetOf(Model m, const std::string& device, const BackendOptions& options, ExternalPool threads)
        : fastbp_net(std::move(m)), runner_(model, make_backend<Real>(device, options), threads) {}

    void check(const fastbp_data& data, std::int32_t targets) const override;
    void forward(const void* params, const fastbp_data& data, void* out, void* kept) const override;
    void evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const override;
    void pull_back(const void* params, const fastbp_data& data, const void* kept, const fastbp_array& cotangent,
                   fastbp_results& results) const override;
    void push_forward(const void* params, const fastbp_data& data, fastbp_tangent& t) const override;
    void run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const override;

  private:
    Job<Real> job_of(const void* params, const fastbp_data& data, Index kept_per_row, Poll& poll) const;
    void weigh(Job<Real>& job, const fastbp_data& data, bool sum) const;
    Seed seed_of(const fastbp_data& data) const;
    void ask_for(Outputs<Real>& outputs, const fastbp_results& results, Index n) const;
    LayerList<Real> kept_values(Real* kept, Index n) const;
    LayerList<Real> wanted_values(const fastbp_results& results, Index n) const;
    void run_forward_on_all_rows(Job<Real> job, std::span<const LayerValues<Real>> kept, Matrix<Real> output_dot) const;
    void report_end(fastbp_epoch& epoch, const EpochEnd& end) const;

    const Runner<Real> runner_;
};

}  // namespace fastbp
