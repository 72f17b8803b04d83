// libfastbp_cuda.so, opened at the first use of device "cuda".
#pragma once

#include <memory>
#include <string>

#include "seam/backend.hpp"

namespace fastbp {

// A backend of device number `ordinal`, of which cuda_unavailable says "". Throws std::bad_alloc or Error.
template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options);

// Why no net can be made on it: the plugin itself, the driver, a GPU or cuBLASLt is missing; or "".
std::string cuda_unavailable(int ordinal);

}  // namespace fastbp
