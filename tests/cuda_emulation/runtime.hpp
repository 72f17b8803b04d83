// What the parts of the emulated runtime, and of the emulated cuBLASLt, share.
#pragma once

#include <functional>

#include "cuda_runtime_api.h"

namespace cuda_emulation {

// Keeps an error for cudaGetLastError.
cudaError_t report(cudaError_t error);

// cudaSuccess where the environment leaves a device: FASTBP_EMULATED_GPUS is their number (1), or "driver" where even
// the driver is missing.
cudaError_t device_is_there();
int current_device();

// Work for a stream. It runs at once, or is recorded where the stream captures. Under FASTBP_EMULATED_DELAY=1 it waits
// until something synchronises, and longer where that is with another stream, so that a missing synchronisation shows.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
void finish_work_of(cudaStream_t stream);
void finish_all_work();
bool delayed();

// An error if a stream captures and the thread may therefore not call functions that wait, allocate or query. The
// capture is then broken.
cudaError_t allowed_under_capture();

}  // namespace cuda_emulation
