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
#include "execution/carry_out.hpp"
#include "execution/lent_threads.hpp"
#include "execution/thread_pool.hpp"
#include "execution/threads.hpp"
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

inline void throw_if(Stop stopped) {
    switch (stopped) {
        case Stop::none: return;
        case Stop::interrupted: throw Error(ErrorKind::interrupted, "interrupted");
        case Stop::callback_failed: throw Error(ErrorKind::interrupted, "a callback failed");
        case Stop::not_finite: throw Error(ErrorKind::floating_point, "the loss is not finite");
        case Stop::gradient_refused: throw Error(ErrorKind::floating_point, "the gradient is not finite");
    }
}

template <class Real>
class NetOf final : public fastbp_net {
  public:
    NetOf(Model m, const std::string& device, const BackendOptions& options, LentThreads threads)
        : fastbp_net(std::move(m)), on_(make_backend<Real>(device, options)), lent_(threads) {}

    void check(const fastbp_data& data, std::int32_t targets) const override;
    void forward(const void* params, const fastbp_data& data, void* out, void* kept) const override;
    void evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const override;
    void pull_back(const void* params, const fastbp_data& data, const void* kept, const fastbp_array& cotangent,
                   fastbp_results& results) const override;
    void push_forward(const void* params, const fastbp_data& data, fastbp_tangent& t) const override;
    void run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const override;

  private:
    Job<Real> job_of(const void* params, const fastbp_data& data, Poll& poll) const;
    void weigh(Job<Real>& job, const fastbp_data& data, bool sum) const;
    void seed_by_loss(Job<Real>& job, const fastbp_data& data) const;
    void ask_for(Job<Real>& job, const fastbp_results& results) const;
    LayerList<Real> kept_values(Real* kept, Index n) const;
    LayerList<Real> wanted_values(const fastbp_results& results, Index n) const;

    // A loss function is the caller's code, and is not called by several threads at a time.
    static int threads_for(const Job<Real>& job) { return job.seed == Seed::function ? 1 : num_threads(); }

    Plan plan_for(const Job<Real>& job, Index rows) const {
        if (on_->asynchronous()) return make_device_plan(model, rows, sizeof(Real));
        const Index kept = job.x.compressed() ? job.x.start(job.x.rows) / std::max<Index>(job.x.rows, 1) + 1 : 0;
        return make_plan(model, rows, sizeof(Real), threads_for(job), kept);
    }

    static int team_for(const Plan& plan, const Job<Real>& job) {
        const int team = forced_team() > 0 && job.seed != Seed::function ? forced_team() : threads_for(job);
        return std::min(plan.parts, team);
    }

    // What one thread is thought to need, for the pool to judge by; a forced team is always worth it.
    static double worth_waking(const Plan& plan, double steps) {
        return forced_team() > 0 ? 1.0 : steps * plan.seconds_alone;
    }

    // body(Member) by a team of at most this size; `seconds` is what one thread is thought to need.
    template <class Body>
    void by_team(int team, double seconds, const Body& body) const {
        const TeamWork work(body);
        if (team > 1 && lent_)
            lent_.run(team, work);
        else
            ThreadPool::get().run(team, seconds, work);
    }

    template <class After>
    void run(Job<Real> job, After after) const;
    void run_forward_on_all_rows(Job<Real> job, std::span<const LayerValues<Real>> kept, Matrix<Real> output_dot) const;
    Stop run_enqueued(void* params, const Job<Real>& job, Epoch<Real>& epoch, Refused& refused) const;
    Stop run_by_team(void* params, const Job<Real>& job, Epoch<Real>& epoch, Refused& refused) const;
    void note_refusal(fastbp_epoch& epoch, Stop stopped, const Refused& refused) const;

    const std::unique_ptr<Backend<Real>> on_;
    const LentThreads lent_;  // none: the process's own pool
    mutable FreeList<Real> free_;
};

}  // namespace fastbp
