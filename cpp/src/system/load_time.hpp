// What the library reads once, while the loader runs: the environment and its own place. Later another thread may
// change the environment, which makes getenv unsafe, and the program may change its working directory.
#pragma once

#include <string>

namespace fastbp {

struct LoadTime {
    std::string folder;  // of the library's file: absolute, with symbolic links resolved; "." if unknown

    // Values of environment variables; empty if not set.
    std::string blas;             // FASTBP_BLAS; a relative path is made absolute
    std::string isa;              // FASTBP_ISA
    std::string cuda;             // FASTBP_CUDA
    std::string num_threads;      // FASTBP_NUM_THREADS
    std::string omp_num_threads;  // OMP_NUM_THREADS
    std::string team;             // FASTBP_TEAM
};

const LoadTime& at_load_time();

}  // namespace fastbp
