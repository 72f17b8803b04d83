// Records a repeated step once as a CUDA graph. Each later run is then a single launch.
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

    // Runs the step directly until its products have been timed, and then replays its recording. A step that cannot be
    // recorded always runs directly.
    void replay(Step& step) noexcept;
    void forget(Step& step) noexcept;

  private:
    static constexpr int seen = 1, decided = 2;  // values of Step::runs
    static constexpr int most_under_way = 16;    // so that an interrupt waits for few steps

    void run(Step& step) noexcept;
    void record(Step& step) noexcept;

    Queue& queue_;
    cudaEvent_t done_[most_under_way] = {};
    int turn_ = 0;
};

}  // namespace fastbp::cuda
