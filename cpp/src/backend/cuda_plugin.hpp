// libfastbp_cuda.so, opened at the first use of device "cuda".
#pragma once

#include <memory>
#include <string>

#include "seam/backend.hpp"

namespace fastbp {

// Return a backend on the device of this number. Requires that cuda_unavailable(ordinal) is "". Throws std::bad_alloc
// or Error.
template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options);

// Return the reason why the device cannot be used, or "": the plugin, the driver, the GPU or cuBLASLt is missing.
std::string cuda_unavailable(int ordinal);

}  // namespace fastbp
