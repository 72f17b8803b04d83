// Devices as the environment describes them, and errors.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <unistd.h>

#include "runtime.hpp"

using namespace cuda_emulation;

namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device_of_thread = 0;

std::string devices() {
    const char* given = std::getenv("FASTBP_EMULATED_GPUS");
    return given == nullptr ? "1" : given;
}

int device_count() { return std::atoi(devices().c_str()); }

struct Name {
    cudaError_t error;
    const char *name, *text;
};
constexpr Name names[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

const Name* find(cudaError_t error) {
    for (const Name& known : names)
        if (known.error == error) return &known;
    return nullptr;
}

}  // namespace

namespace cuda_emulation {

cudaError_t report(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}

// What a driver has told a process is of no use to a child that was forked from it.
cudaError_t device_is_there() {
    if (devices() == "driver") return cudaErrorInsufficientDriver;
    static const pid_t first = getpid();
    if (getpid() != first) return cudaErrorInitializationError;
    return device_count() > 0 ? cudaSuccess : cudaErrorNoDevice;
}

int current_device() { return device_of_thread; }

}  // namespace cuda_emulation

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char* cudaGetErrorName(cudaError_t error) {
    const Name* known = find(error);
    return known == nullptr ? "unrecognized error code" : known->name;
}

const char* cudaGetErrorString(cudaError_t error) {
    const Name* known = find(error);
    return known == nullptr ? "unrecognized error code" : known->text;
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 0;
    const cudaError_t there = device_is_there();
    if (there == cudaSuccess) *count = device_count();
    return report(there);
}

cudaError_t cudaGetDevice(int* device) {
    *device = device_of_thread;
    return report(device_is_there());
}

cudaError_t cudaSetDevice(int device) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    if (device < 0 || device >= device_count()) return report(cudaErrorInvalidDevice);
    device_of_thread = device;
    return cudaSuccess;
}

// A small device: several blocks share a multiprocessor already at sizes that a test can afford.
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    if (device < 0 || device >= device_count()) return report(cudaErrorInvalidDevice);
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
        case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
        default: return report(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* made_for) {
    *made_for = devices() == "driver" ? 0 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* made_for) {
    *made_for = CUDART_VERSION;
    return cudaSuccess;
}
