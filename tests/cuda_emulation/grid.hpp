// A launch: blocks one after the other, their threads as fibers that run until they wait for each other.
#pragma once

#include <functional>

#include "cuda_runtime.h"

namespace cuda_emulation {

struct Launch {
    dim3 grid, block;
    const void* shared;  // in the shared memory of the library that the kernel is in
    std::function<void()> thread;
};

void run(const Launch& launch);

// Fills with 0xff, NaN in every type: a kernel that reads shared memory before it writes it shows.
void poison_shared_memory(const void* within);

}  // namespace cuda_emulation
