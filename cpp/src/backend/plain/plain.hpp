// The plain backend: every operation a loop, any strides, compiled for the machine's baseline. The oracle of the
// others.
#pragma once

#include <memory>

#include "seam/backend.hpp"

namespace fastbp {

template <class Real>
std::unique_ptr<Backend<Real>> make_plain_backend();

}  // namespace fastbp
