// Wrappers of the CUDA runtime: the first error of a call, the current device, and the queue of kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>

#include "seam/views.hpp"

namespace fastbp::cuda {

// The most likely cause of an error whose own text does not help, or "".
inline const char* cause_of(cudaError_t error) noexcept {
    return error == cudaErrorInitializationError
               ? ": a process that was forked after its parent had used CUDA cannot use it; start it by spawn"
               : "";
}

// The text of the first error. Later errors, which may follow from it, are not noted.
class Failure {
  public:
    // Notes an error. `doing` names the attempted action: "launching a kernel".
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

// True if work on the stream would become part of a graph, or would break a graph that another stream records.
inline bool capturing(cudaStream_t stream) noexcept {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(stream, &status) == cudaErrorStreamCaptureImplicit ||
           status != cudaStreamCaptureStatusNone;
}

// Makes a device current on this thread, and restores the caller's device on destruction.
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

// The number of blocks of a launch, and of threads of a block.
struct Shape {
    dim3 grid, block;
};

// The stream that runs all kernels in order. The scratch memory passes numbers between the two kernels of an operation.
struct Queue {
    static constexpr Index scratch_size = Index(1) << 16;

    cudaStream_t stream = nullptr;
    double* scratch = nullptr;
    Failure failure;
    // A step cannot be recorded if it copied from or to the process's memory, or if it ran a product whose algorithm is
    // not final yet.
    bool used_host_memory = false;
    bool untimed = false;

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
