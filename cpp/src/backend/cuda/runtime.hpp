// What everything here needs of the CUDA runtime: the first thing that went wrong in a call, the current device, and
// the queue that kernels are launched into.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>

#include "seam/views.hpp"

namespace fastbp::cuda {

// What an error that CUDA tells little of most likely comes from, or "".
inline const char* cause_of(cudaError_t error) noexcept {
    return error == cudaErrorInitializationError
               ? ": a process that was forked after its parent had used CUDA cannot use it; start it by spawn"
               : "";
}

// The first thing that went wrong, as text; what follows from it is not noted.
class Failure {
  public:
    // Notes an error, with what was being done: "launching a kernel".
    void note(cudaError_t error, const char* doing) noexcept {
        if (error == cudaSuccess || noted()) return;
        std::snprintf(text_, sizeof text_, "CUDA: %s: %s (%s)%s", doing, cudaGetErrorString(error),
                      cudaGetErrorName(error), cause_of(error));
        for_memory_ = error == cudaErrorMemoryAllocation;
    }
    void note(const char* text) noexcept {
        if (!noted()) std::snprintf(text_, sizeof text_, "CUDA: %s", text);
    }
    bool noted() const noexcept { return text_[0] != 0; }
    bool for_memory() const noexcept { return for_memory_; }
    const char* text() const noexcept { return noted() ? text_ : nullptr; }
    void clear() noexcept {
        text_[0] = 0;
        for_memory_ = false;
    }

  private:
    char text_[320] = {};
    bool for_memory_ = false;
};

// Whether what is enqueued on the stream becomes part of a graph, or would spoil one that another stream records.
inline bool capturing(cudaStream_t stream) noexcept {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(stream, &status) == cudaErrorStreamCaptureImplicit ||
           status != cudaStreamCaptureStatusNone;
}

// Makes a device current on this thread for as long as this lives; then it is the one again that the caller had.
class OnDevice {
  public:
    OnDevice(int ordinal, Failure& failure) noexcept {
        failure.note(cudaGetDevice(&before_), "asking for the current device");
        changed_ = before_ != ordinal;
        if (changed_) failure.note(cudaSetDevice(ordinal), "choosing the device");
    }
    ~OnDevice() {
        if (changed_) cudaSetDevice(before_);
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

  private:
    int before_ = 0;
    bool changed_ = false;
};

// The blocks of a launch, and the threads of a block.
struct Shape {
    dim3 grid, block;
};

// Where kernels go, one after the other. The scratch holds what the two kernels of an operation hand on.
struct Queue {
    static constexpr Index scratch_size = Index(1) << 16;

    cudaStream_t stream = nullptr;
    double* scratch = nullptr;
    Failure failure;
    bool met_host = false;  // something went to or came from the process's memory, which no recording has
    bool untimed = false;   // a product ran whose plan is still to be chosen by time, which no recording can do

    template <class... Parameters, class... Arguments>
    void launch(void (*kernel)(Parameters...), Shape shape, Arguments... arguments) noexcept {
        cudaLaunchConfig_t config{};
        config.gridDim = shape.grid;
        config.blockDim = shape.block;
        config.stream = stream;
        failure.note(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "launching a kernel");
    }
};

}  // namespace fastbp::cuda
