// What libfastbp_cuda.so exports. The core asks for the build id first: a plugin of another build is refused.
#include <cstdio>

#include "backend/cuda/cuda.hpp"
#include "backend/cuda/library.hpp"
#include "backend/cuda/runtime.hpp"

#define FASTBP_EXPORT extern "C" __attribute__((visibility("default")))

namespace fastbp::cuda {
namespace {

constexpr int least_capability = 75;  // the oldest GPUs that this is compiled for

// What the driver lacks, or nullptr.
const char* driver_missing(char (&text)[512]) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return "no CUDA driver: install NVIDIA's (on Debian the package nvidia-driver)";
    if (driver / 1000 >= runtime / 1000) return nullptr;
    std::snprintf(text, sizeof text, "the CUDA driver is for CUDA %d.%d, which is too old: install one for CUDA %d",
                  driver / 1000, driver % 1000 / 10, runtime / 1000);
    return text;
}

// What is wrong with the GPU of this number, or nullptr.
const char* gpu_missing(int ordinal, char (&text)[512]) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess && error != cudaErrorNoDevice) {
        std::snprintf(text, sizeof text, "the CUDA driver does not start: %s%s", cudaGetErrorString(error),
                      cause_of(error));
        return text;
    }
    if (ordinal < 0 || ordinal >= count) {
        std::snprintf(text, sizeof text,
                      "no GPU with number %d: the CUDA driver sees %d (CUDA_VISIBLE_DEVICES may hide some)", ordinal,
                      count);
        return text;
    }
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal);
    if (10 * major + minor >= least_capability) return nullptr;
    std::snprintf(text, sizeof text, "GPU %d is of compute capability %d.%d, expected %d.%d or newer", ordinal, major,
                  minor, least_capability / 10, least_capability % 10);
    return text;
}

template <class Real>
Backend<Real>* make(int ordinal, const BackendOptions* options, char* why, std::size_t room) noexcept try {
    Failure failure;
    Backend<Real>* made = make_cuda_backend<Real>(ordinal, *options, failure).release();
    if (made == nullptr && !failure.for_memory()) std::snprintf(why, room, "%s", failure.text());
    return made;
} catch (...) {
    return nullptr;
}

}  // namespace
}  // namespace fastbp::cuda

FASTBP_EXPORT const char* fastbp_cuda_build_id() { return FASTBP_BUILD_ID; }

// Why there is no backend on the GPU with this number, or nullptr; stays until the thread asks again.
FASTBP_EXPORT const char* fastbp_cuda_unavailable(int ordinal) {
    using namespace fastbp::cuda;
    static thread_local char text[512];
    if (const char* why = driver_missing(text)) return why;
    if (const char* why = gpu_missing(ordinal, text)) return why;
    return library() == nullptr ? library_missing() : nullptr;
}

// The backend belongs to the caller; nullptr where there is none, and then `why` says why, or stays as it was where
// memory is what is missing.
FASTBP_EXPORT fastbp::Backend<float>* fastbp_cuda_make_backend32(int ordinal, const fastbp::BackendOptions* options,
                                                                 char* why, std::size_t room) {
    return fastbp::cuda::make<float>(ordinal, options, why, room);
}
FASTBP_EXPORT fastbp::Backend<double>* fastbp_cuda_make_backend64(int ordinal, const fastbp::BackendOptions* options,
                                                                  char* why, std::size_t room) {
    return fastbp::cuda::make<double>(ordinal, options, why, room);
}
