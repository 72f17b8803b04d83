// Threads that a caller lends to a net's calls. Where a program has a pool of its own, whose threads wait spinning as
// OpenMP's do, they and fastbp's would keep each other from the processors.
#pragma once

#include <cstdint>

#include "execution/barrier.hpp"

namespace fastbp {

class LentThreads {
  public:
    using Take = void (*)(void* job, std::int32_t index, std::int32_t width);
    // Calls take(job, k, width) for every k < width at the same time, k = 0 on the calling thread, and returns when all
    // have returned. The width is its own choice.
    using Run = void (*)(void* pool, Take take, void* job);

    LentThreads() = default;
    LentThreads(Run lender, void* pool);

    // Not in the child of a fork: it has none of the threads that the lender would wait for.
    explicit operator bool() const { return run_ != nullptr && !forked(); }

    // The work by a team of at most the given size, as ThreadPool::run. Throws Error where the lender did not call.
    TeamReport run(int team, const TeamWork& work) const;

  private:
    static bool forked();

    Run run_ = nullptr;
    void* pool_ = nullptr;
};

}  // namespace fastbp
