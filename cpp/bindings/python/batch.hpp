// What a call is given: its arrays, and how its losses become one value.
#pragma once

#include <vector>

#include "arrays.hpp"
#include "parameters.hpp"

namespace fastbp::python {

// X, y and sample_weight of one call, kept alive while it runs.
struct Batch {
    Input x, y, sample_weight;
    fastbp_data data = {};

    Batch(const Place& place, py::handle X) : x(Input::rows(X, "X", place)) {
        data.size = sizeof data;
        data.x = x.view();
    }
    explicit Batch(const fastbp_array& X) : data(data_of(X)) {}
    Batch(const Place& place, py::handle X, py::handle targets, py::handle c, bool function)
        : x(Input::rows(X, "X", place)),
          y(function ? Input() : Input(targets, "y", place, true)),
          sample_weight(c, "sample_weight", place, true) {
        data = data_of(x.view(), y.view(), sample_weight.view());
    }
    std::vector<Extent> extents(const Parameters& params) const {
        std::vector<Extent> found{extent_of(x, "X"), extent_of(y, "y"), extent_of(sample_weight, "sample_weight")};
        params.add_extents(found);
        return found;
    }
};

// Whether it is "sum"; else it is "mean".
inline bool is_sum(py::handle reduction) {
    const auto is = [&](const char* word) {
        return PyUnicode_Check(reduction.ptr()) && PyUnicode_CompareWithASCIIString(reduction.ptr(), word) == 0;
    };
    if (is("mean")) return false;
    if (is("sum")) return true;
    throw Refusal(FASTBP_VALUE_ERROR,
                  "reduction is " + py::cast<std::string>(py::repr(reduction)) + ", expected 'mean' or 'sum'");
}

}  // namespace fastbp::python
