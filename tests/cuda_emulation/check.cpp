// The emulation's own test: kernels that are right and, one for each argument, kernels that are not.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda_runtime.h"

namespace {

int failures = 0;

#define EXPECT(what) ((what) ? void() : void((++failures, std::printf("line %d: %s\n", __LINE__, #what))))

template <class... Parameters, class... Arguments>
cudaError_t launch(cudaStream_t stream, unsigned blocks, unsigned threads, void (*kernel)(Parameters...),
                   Arguments... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

// ---- kernels that are right -----------------------------------------------------------------------------------

__global__ void number(int* to, int n) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) to[i] = i;
}

// One sum for each block: by shuffles in a warp, through shared memory between warps.
template <class T>
__global__ void block_sums(const T* from, int n, T* to) {
    __shared__ T of_warps[8];
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
    T sum = i < n ? from[i] : T(0);
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, d);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0) return;
    sum = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += of_warps[w];
    to[blockIdx.x] = sum;
}

__global__ void rotate(int* values, int times) {
    __shared__ int shared[256];
    for (int k = 0; k < times; ++k) {
        shared[threadIdx.x] = values[threadIdx.x];
        __syncthreads();
        values[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
        __syncthreads();
    }
}

__global__ void warp_functions(unsigned* to) {
    const unsigned lane = threadIdx.x % 32;
    unsigned wrong = 0;
    wrong += __shfl_xor_sync(0xffffffffU, lane, 5) != (lane ^ 5);
    wrong += __shfl_sync(0xffffffffU, lane, 7) != 7;
    wrong += __shfl_xor_sync(0xffffffffU, double(lane), 16) != double(lane ^ 16);
    __syncwarp();
    to[threadIdx.x] = wrong;
}

[[maybe_unused]] __global__ void read_shared(float* to) {
    __shared__ float shared[4];
    to[threadIdx.x] = shared[threadIdx.x % 4];
    shared[threadIdx.x % 4] = 1;
}

// ---- kernels that are not -------------------------------------------------------------------------------------

__global__ void returns_before_the_barrier(int* to) {
    if (threadIdx.x == 5) return;
    __syncthreads();
    to[threadIdx.x] = 1;
}

__global__ void two_barriers(int* to) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    to[threadIdx.x] = 1;
}

__global__ void shuffles_without_a_lane(int* to) {
    int value = 1;
    if (threadIdx.x % 32 != 3) value = __shfl_xor_sync(0xffffffffU, value, 1);
    to[threadIdx.x] = value;
}

__global__ void waits_for_two_things(int* to) {
    if (threadIdx.x % 2 == 0)
        __syncthreads();
    else
        __syncwarp();
    to[threadIdx.x] = 1;
}

__global__ void shuffles_a_part(int* to) { to[threadIdx.x] = __shfl_xor_sync(0xffffU, 1, 1); }

__global__ void writes_behind(int* to) { to[256 + threadIdx.x % 32] = 1; }

// Without the barrier between writing and reading.
__global__ void rotate_at_once(int* values) {
    __shared__ int shared[256];
    shared[threadIdx.x] = values[threadIdx.x];
    values[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}

// Two sums through the same shared memory, without a barrier after the first is read.
__global__ void two_sums(int* to) {
    __shared__ int of_warps[8];
    for (int k = 0; k < 2; ++k) {
        int sum = k + 1;
        for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, d);
        if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = sum;
        __syncthreads();
        if (threadIdx.x != 0) continue;
        to[k] = 0;
        for (const int of_warp : of_warps) to[k] += of_warp;
    }
}

struct Wrong {
    const char* name;
    void (*kernel)(int*);
};
constexpr Wrong wrong_ones[] = {
    {"returns_before_the_barrier", returns_before_the_barrier},
    {"two_barriers", two_barriers},
    {"shuffles_without_a_lane", shuffles_without_a_lane},
    {"waits_for_two_things", waits_for_two_things},
    {"shuffles_a_part", shuffles_a_part},
    {"writes_behind", writes_behind},
};

// ---- what is checked ------------------------------------------------------------------------------------------

template <class T>
struct Device {
    T* data = nullptr;
    explicit Device(std::size_t n) { EXPECT(cudaMalloc(&data, n * sizeof(T)) == cudaSuccess); }
    ~Device() { EXPECT(cudaFree(data) == cudaSuccess); }
    Device(const Device&) = delete;
};

void check_kernels() {
    Device<int> numbers(1000);
    EXPECT(launch(nullptr, 4, 256, number, numbers.data, 1000) == cudaSuccess);
    EXPECT(numbers.data[999] == 999);

    Device<double> from(1000), to(4);
    for (int i = 0; i < 1000; ++i) from.data[i] = i;
    EXPECT(launch(nullptr, 4, 256, block_sums<double>, from.data, 1000, to.data) == cudaSuccess);
    EXPECT(to.data[0] + to.data[1] + to.data[2] + to.data[3] == 999.0 * 500);
    EXPECT(to.data[0] == 255.0 * 128);

    EXPECT(launch(nullptr, 1, 256, rotate, numbers.data, 300) == cudaSuccess);
    EXPECT(numbers.data[0] == 300 % 256 && numbers.data[255] == 299 % 256);

    Device<unsigned> wrong(96);
    EXPECT(launch(nullptr, 1, 96, warp_functions, wrong.data) == cudaSuccess);
    for (int i = 0; i < 96; ++i) EXPECT(wrong.data[i] == 0);
}

// In one of the orders of threads, and without help from what shared memory held.
void check_that_faults_show() {
    Device<int> values(256);
    int wrong_sums = 0;
    for (int order = 0; order < 4; ++order) {
        for (int i = 0; i < 256; ++i) values.data[i] = 1000 * order + i;
        EXPECT(launch(nullptr, 1, 256, rotate_at_once, values.data) == cudaSuccess);
        bool right = true;
        for (int i = 0; i < 256; ++i) right = right && values.data[i] == 1000 * order + (i + 1) % 256;
        EXPECT(!right);
        EXPECT(launch(nullptr, 1, 256, two_sums, values.data) == cudaSuccess);
        wrong_sums += values.data[0] != 256 || values.data[1] != 512;
        EXPECT(launch(nullptr, 1, 256, number, values.data, 0) == cudaSuccess);  // so that both see every order
    }
    EXPECT(wrong_sums > 0);
#ifndef __SANITIZE_ADDRESS__
    Device<float> floats(4);
    for (int k = 0; k < 2; ++k) {
        EXPECT(launch(nullptr, 1, 4, read_shared, floats.data) == cudaSuccess);
        EXPECT(std::isnan(floats.data[0]));
    }
#endif
}

void check_memory() {
    Device<float> device(10);
    float host[10] = {1, 2, 3};
    EXPECT(std::isnan(device.data[0]));
    EXPECT(cudaMemcpy(device.data, host, sizeof host, cudaMemcpyHostToDevice) == cudaSuccess);
    EXPECT(cudaMemcpy(device.data + 1, host, sizeof host, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    EXPECT(cudaMemcpy(host, device.data, sizeof host, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    EXPECT(cudaGetLastError() == cudaErrorInvalidValue && cudaGetLastError() == cudaSuccess);
    EXPECT(launch(nullptr, 0, 32, number, nullptr, 0) == cudaErrorInvalidConfiguration);
    EXPECT(launch(nullptr, 1, 2048, number, nullptr, 0) == cudaErrorInvalidConfiguration);
    setenv("FASTBP_EMULATED_GPU_MEMORY", "1000", 1);
    void* large = nullptr;
    EXPECT(cudaMalloc(&large, 1000) == cudaErrorMemoryAllocation && large == nullptr);
    unsetenv("FASTBP_EMULATED_GPU_MEMORY");
}

void check_capture() {
    cudaStream_t stream = nullptr;
    EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    Device<int> numbers(256);
    numbers.data[7] = -1;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recording = nullptr;
    EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    EXPECT(cudaMemsetAsync(numbers.data, 0, 256 * sizeof(int), stream) == cudaSuccess);
    EXPECT(launch(stream, 1, 256, number, numbers.data, 8) == cudaSuccess);
    EXPECT(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    EXPECT(numbers.data[7] == -1);
    EXPECT(cudaGraphInstantiate(&recording, graph) == cudaSuccess);
    EXPECT(cudaGraphDestroy(graph) == cudaSuccess);
    for (int k = 0; k < 2; ++k) {
        numbers.data[7] = numbers.data[8] = -1;
        EXPECT(cudaGraphLaunch(recording, stream) == cudaSuccess);
        EXPECT(numbers.data[7] == 7 && numbers.data[8] == 0);
    }
    EXPECT(cudaGraphExecDestroy(recording) == cudaSuccess);

    EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    void* memory = nullptr;
    EXPECT(cudaMalloc(&memory, 8) == cudaErrorStreamCaptureUnsupported);
    EXPECT(launch(stream, 1, 256, number, numbers.data, 8) == cudaErrorStreamCaptureInvalidated);
    EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr);

    EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    EXPECT(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
    EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    EXPECT(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed) == cudaErrorStreamCaptureUnsupported);
    EXPECT(cudaStreamDestroy(stream) == cudaSuccess);
    EXPECT(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
}

void check_delay() {
    setenv("FASTBP_EMULATED_DELAY", "1", 1);
    Device<int> numbers(256);
    cudaEvent_t event = nullptr;
    EXPECT(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    EXPECT(launch(nullptr, 1, 256, number, numbers.data, 256) == cudaSuccess);
    EXPECT(cudaEventRecord(event, nullptr) == cudaSuccess);
    EXPECT(numbers.data[9] != 9);
    EXPECT(cudaEventSynchronize(event) == cudaSuccess && numbers.data[9] == 9);
    int value = 4;
    EXPECT(cudaMemcpyAsync(numbers.data, &value, sizeof value, cudaMemcpyHostToDevice) == cudaSuccess);
    value = 5;
    EXPECT(cudaMemcpyAsync(&value, numbers.data, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess && value == 4);
    EXPECT(cudaEventDestroy(event) == cudaSuccess);
    unsetenv("FASTBP_EMULATED_DELAY");
}

// What is waited for brings along what it follows, and nothing else.
void check_order_of_streams() {
    setenv("FASTBP_EMULATED_DELAY", "1", 1);
    Device<int> first(256), second(256);
    cudaStream_t one = nullptr, other = nullptr;
    cudaEvent_t event = nullptr;
    EXPECT(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking) == cudaSuccess);
    EXPECT(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking) == cudaSuccess);
    EXPECT(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    EXPECT(launch(one, 1, 256, number, first.data, 256) == cudaSuccess);
    EXPECT(launch(other, 1, 256, number, second.data, 256) == cudaSuccess);
    EXPECT(cudaStreamSynchronize(other) == cudaSuccess && second.data[9] == 9 && first.data[9] != 9);
    EXPECT(cudaEventRecord(event, one) == cudaSuccess);
    EXPECT(launch(one, 1, 256, number, second.data, 9) == cudaSuccess);
    EXPECT(cudaMemsetAsync(second.data, 0, 256 * sizeof(int), other) == cudaSuccess);
    EXPECT(cudaStreamWaitEvent(other, event) == cudaSuccess);
    EXPECT(cudaStreamSynchronize(other) == cudaSuccess && first.data[9] == 9 && second.data[8] == 0);
    EXPECT(cudaStreamDestroy(one) == cudaSuccess && second.data[8] == 8);
    EXPECT(cudaStreamDestroy(other) == cudaSuccess && cudaEventDestroy(event) == cudaSuccess);
    unsetenv("FASTBP_EMULATED_DELAY");
}

void check_devices() {
    int count = 0;
    setenv("FASTBP_EMULATED_GPUS", "0", 1);
    EXPECT(cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 0);
    setenv("FASTBP_EMULATED_GPUS", "driver", 1);
    EXPECT(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
    setenv("FASTBP_EMULATED_GPUS", "2", 1);
    EXPECT(cudaGetDeviceCount(&count) == cudaSuccess && count == 2);
    EXPECT(cudaSetDevice(2) == cudaErrorInvalidDevice && cudaSetDevice(1) == cudaSuccess);
    EXPECT(cudaSetDevice(0) == cudaSuccess);
    unsetenv("FASTBP_EMULATED_GPUS");
}

}  // namespace

int main(int arguments, char** given) {
    if (arguments > 1) {
        Device<int> values(256);
        for (const Wrong& wrong : wrong_ones)
            if (std::strcmp(wrong.name, given[1]) == 0) launch(nullptr, 2, 256, wrong.kernel, values.data);
        std::printf("nobody saw it\n");
        return 0;
    }
    unsetenv("FASTBP_EMULATED_DELAY");
    check_kernels();
    check_that_faults_show();
    check_memory();
    check_capture();
    check_delay();
    check_order_of_streams();
    check_devices();
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
