// The CPU backend: matrix products by BLAS, everything else by loops compiled for this machine's instruction set.
#pragma once

#include <memory>

#include "seam/backend.hpp"

namespace fastbp {

template <class Real>
std::unique_ptr<Backend<Real>> make_cpu_backend();

}  // namespace fastbp
