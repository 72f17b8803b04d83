// The threads of an OpenMP runtime that another library of the process works with, as a pool for fastbp's nets.
#pragma once

#include <cstdint>

#include "fastbp/fastbp.h"

namespace fastbp::python {

// Three functions of the runtime: GOMP_parallel (which LLVM's and Intel's have too), omp_get_thread_num and
// omp_get_num_threads.
struct OpenMP {
    void (*parallel)(void (*region)(void*), void* context, unsigned threads, unsigned flags);
    int (*thread_num)();
    int (*num_threads)();

    static OpenMP at(std::uintptr_t parallel, std::uintptr_t thread_num, std::uintptr_t num_threads) {
        return {reinterpret_cast<decltype(OpenMP::parallel)>(parallel),
                reinterpret_cast<decltype(OpenMP::thread_num)>(thread_num),
                reinterpret_cast<decltype(OpenMP::num_threads)>(num_threads)};
    }

    // A fastbp_pool. The runtime chooses how many threads, as for the other library: a number of our own would make it
    // end threads and start them again with every call.
    static void run(void* self, fastbp_take take, void* job) {
        struct Region {
            const OpenMP& openmp;
            fastbp_take take;
            void* job;
        } region{*static_cast<const OpenMP*>(self), take, job};
        region.openmp.parallel(
            [](void* context) {
                const Region& r = *static_cast<const Region*>(context);
                r.take(r.job, r.openmp.thread_num(), r.openmp.num_threads());
            },
            &region, 0, 0);
    }
};

}  // namespace fastbp::python
