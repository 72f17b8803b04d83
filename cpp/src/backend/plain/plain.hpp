// The plain backend: all operations are loops over any strides, compiled for the baseline instruction set. Tests
// compare the other backends with it.
#pragma once

#include <memory>

#include "seam/backend.hpp"

namespace fastbp {

template <class Real>
std::unique_ptr<Backend<Real>> make_plain_backend();

}  // namespace fastbp
