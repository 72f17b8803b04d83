// The functions that libfastbp_cuda.so exports. The core reads the build id first and refuses a plugin of another
// build.
#include <cstdio>

#include "backend/cuda/cuda.hpp"
#include "backend/cuda/library.hpp"
#include "backend/cuda/runtime.hpp"

#define FASTBP_EXPORT extern "C" __attribute__((visibility("default")))

namespace fastbp::cuda {
namespace {

constexpr int least_capability = 75;  // of the oldest GPUs that the plugin is compiled for

// The reason why the driver cannot be used, or nullptr.
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

// The reason why the GPU of this number cannot be used, or nullptr.
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

// The reason why the GPU of this number has no backend, or nullptr. The text is valid until the thread's next call.
FASTBP_EXPORT const char* fastbp_cuda_unavailable(int ordinal) {
    using namespace fastbp::cuda;
    static thread_local char text[512];
    if (const char* why = driver_missing(text)) return why;
    if (const char* why = gpu_missing(ordinal, text)) return why;
    return library() == nullptr ? library_missing() : nullptr;
}

// The caller owns the backend. If the result is nullptr, `why` has the reason. If memory is missing, `why` is
// unchanged.
FASTBP_EXPORT fastbp::Backend<float>* fastbp_cuda_make_backend32(int ordinal, const fastbp::BackendOptions* options,
                                                                 char* why, std::size_t room) {
    return fastbp::cuda::make<float>(ordinal, options, why, room);
}
FASTBP_EXPORT fastbp::Backend<double>* fastbp_cuda_make_backend64(int ordinal, const fastbp::BackendOptions* options,
                                                                  char* why, std::size_t room) {
    return fastbp::cuda::make<double>(ordinal, options, why, room);
}
