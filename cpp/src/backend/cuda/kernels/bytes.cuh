// Uploads a few bytes as the argument of a kernel. The kernel runs in stream order, the call returns at once, and a
// recording may contain it.
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
