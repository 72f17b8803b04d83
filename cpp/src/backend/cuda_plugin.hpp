// libfastbp_cuda.so, opened at the first use of device "cuda".
#pragma once

#include <memory>
#include <string>

#include "seam/backend.hpp"

namespace fastbp {

// A backend of device number `ordinal`. Throws Error(runtime) saying what is missing: the plugin itself, the driver, a
// GPU or cuBLASLt.
template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options);

// Why no net can be made on it, or "".
std::string cuda_unavailable(int ordinal);

}  // namespace fastbp
