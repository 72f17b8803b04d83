// CUDA C++ as plain C++: what a kernel may say, and how it is launched. The threads of a block run one after the other
// on one thread of the process and change places where they wait for each other (block.hpp).
#pragma once

#include <cmath>
#include <functional>
#include <source_location>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static  // with redzones around it
#else
#define __shared__ \
    static thread_local  // so that it lies where a launch finds it and makes it NaN; see shared_memory.cpp
#endif

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace cuda_emulation {

using Place = std::source_location;  // of a call in a kernel

enum class WarpOperation { syncwarp, shuffle, shuffle_xor };

void wait_for_block(Place at);
// Gives `value` to the other lanes of the warp; `source` is the lane whose value comes back.
std::uint64_t exchange(WarpOperation operation, unsigned mask, std::uint64_t value, int source, Place at);
int lane();

cudaError_t launch(const cudaLaunchConfig_t& config, std::size_t argument_bytes, const void* shared,
                   std::function<void()> thread);

// Where the kernels of this library keep their shared memory: beside this.
inline thread_local char shared_memory_anchor = 0;

template <class T>
T shuffle(WarpOperation operation, unsigned mask, T value, int source, Place at) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = exchange(operation, mask, bits, source, at);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

}  // namespace cuda_emulation

inline void __syncthreads(cuda_emulation::Place at = cuda_emulation::Place::current()) {
    cuda_emulation::wait_for_block(at);
}
inline void __syncwarp(unsigned mask = 0xffffffffU, cuda_emulation::Place at = cuda_emulation::Place::current()) {
    cuda_emulation::exchange(cuda_emulation::WarpOperation::syncwarp, mask, 0, cuda_emulation::lane(), at);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, cuda_emulation::Place at = cuda_emulation::Place::current()) {
    return cuda_emulation::shuffle(cuda_emulation::WarpOperation::shuffle, mask, value, source, at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, cuda_emulation::Place at = cuda_emulation::Place::current()) {
    return cuda_emulation::shuffle(cuda_emulation::WarpOperation::shuffle_xor, mask, value,
                                   cuda_emulation::lane() ^ bits, at);
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    static_assert((std::is_trivially_copyable_v<Parameters> && ...), "arguments are copied to the device byte by byte");
    static_assert((!std::is_reference_v<Parameters> && ...), "a kernel's parameters are no references");
    std::tuple<Parameters...> copies(std::forward<Arguments>(arguments)...);
    return cuda_emulation::launch(*config, (sizeof(Parameters) + ... + 0), &cuda_emulation::shared_memory_anchor,
                                  [kernel, copies] { std::apply(kernel, copies); });
}
