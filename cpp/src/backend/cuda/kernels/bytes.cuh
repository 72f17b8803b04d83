// A few bytes from the process's memory: as an argument of a kernel they are in order with what was enqueued before,
// the call returns at once, and a recording may have them.
#pragma once

#include "backend/cuda/runtime.hpp"

namespace fastbp::cuda {

struct FewBytes {
    static constexpr std::size_t most = 1024;
    unsigned char of[most];
};

__global__ static void write_bytes(FewBytes from, unsigned char* to, unsigned count) {
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x) to[i] = from.of[i];
}

}  // namespace fastbp::cuda
