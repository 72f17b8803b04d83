// Run a net's calls on threads of the caller. If a program has a pool whose threads spin while they wait, as OpenMP's
// do, that pool and fastbp's would compete for the same processors.
#pragma once

#include <cstdint>

#include "execution/barrier.hpp"

namespace fastbp {

class ExternalPool {
  public:
    using Take = void (*)(void* job, std::int32_t index, std::int32_t width);
    // Calls take(job, k, width) for every k < width at the same time, k = 0 on the calling thread, and returns when all
    // calls have returned. The pool chooses the width.
    using Run = void (*)(void* pool, Take take, void* job);

    ExternalPool() = default;
    ExternalPool(Run lender, void* pool);

    // False in the child of a fork, which has none of the threads that the pool would wait for.
    explicit operator bool() const { return run_ != nullptr && !forked(); }

    // Runs the work as ThreadPool::run does. Throws Error if the pool did not call take.
    TeamReport run(int team, const TeamWork& work) const;

  private:
    static bool forked();

    Run run_ = nullptr;
    void* pool_ = nullptr;
};

}  // namespace fastbp
