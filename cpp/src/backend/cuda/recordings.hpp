// Steps that are run again and again: recorded once as a CUDA graph, which is then one launch.
#pragma once

#include "backend/cuda/runtime.hpp"
#include "seam/backend.hpp"

namespace fastbp::cuda {

class Recordings {
  public:
    explicit Recordings(Queue& queue) noexcept;
    ~Recordings();
    Recordings(const Recordings&) = delete;
    Recordings& operator=(const Recordings&) = delete;

    // Runs the step: as it is until its products have been timed, then as its recording. One that cannot be
    // recorded runs as it is from then on.
    void replay(Step& step) noexcept;
    void forget(Step& step) noexcept;

  private:
    static constexpr int seen = 1, decided = 2;  // what Step::runs says here
    static constexpr int most_under_way = 16;    // so that an interrupt need not wait for many

    void run(Step& step) noexcept;
    void record(Step& step) noexcept;

    Queue& queue_;
    cudaEvent_t done_[most_under_way] = {};
    int turn_ = 0;
};

}  // namespace fastbp::cuda
