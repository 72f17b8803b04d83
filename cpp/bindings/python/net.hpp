#pragma once

#include <pybind11/pybind11.h>

namespace fastbp::python {

// Adds the class Net to the module.
void register_net(pybind11::module_& m);

}  // namespace fastbp::python
