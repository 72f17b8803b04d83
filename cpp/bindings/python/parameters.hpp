// The parameters of a call: one flat array, or a sequence w(1), b(1), .. of arrays.
#pragma once

#include <optional>
#include <vector>

#include "arrays.hpp"
#include "borrowed.hpp"

namespace fastbp::python {

class Parameters {
  public:
    // The flat array is the package's own; a sequence's arrays must be of the net's type and sizes, without gaps.
    Parameters(py::handle given, const Place& place, const py::dtype& dtype, const std::vector<std::int64_t>& widths) {
        if (py::isinstance<py::array>(given) || py::isinstance<DeviceArray>(given)) {
            flat_ = py::reinterpret_borrow<py::object>(given);
            flat_memory_ = memory_of(flat_);
            return;
        }
        const auto arrays = py::reinterpret_borrow<py::sequence>(given);
        if (arrays.size() != 2 * (widths.size() - 1))
            throw Refusal(FASTBP_VALUE_ERROR, "the parameters are " + std::to_string(arrays.size()) +
                                                  " arrays, expected w and b of each layer");
        for (std::size_t k = 0; k + 1 < widths.size(); ++k) {
            take(arrays[2 * k], "a weight", place, dtype, widths[k] * widths[k + 1], weights_);
            take(arrays[2 * k + 1], "a bias", place, dtype, widths[k + 1], biases_);
        }
    }

    const void* flat() const { return flat_memory_; }
    void attach(fastbp_data& data) const {
        if (weights_.empty()) return;
        data.weights = weights_.data();
        data.biases = biases_.data();
    }
    void add_extents(std::vector<Extent>& to) const {
        if (weights_.empty()) to.push_back(extent_of(flat_, "the parameters"));
        to.insert(to.end(), extents_.begin(), extents_.end());
    }

  private:
    void take(py::handle given, const std::string& what, const Place& place, const py::dtype& dtype, std::int64_t size,
              std::vector<const void*>& pointers) {
        const char* memory = place.distant() ? there(given, place, dtype, size) : here(given, dtype, size);
        if (memory == nullptr)
            throw Refusal(FASTBP_VALUE_ERROR, what + " is not a row-major array of " + std::to_string(size) + " " +
                                                  py::cast<std::string>(py::str(dtype)) + " numbers");
        extents_.push_back({"the parameters", memory, memory + size * dtype.itemsize()});
        pointers.push_back(memory);
    }

    // Its memory, which is kept alive; null where it is not an array of this form.
    const char* here(py::handle given, const py::dtype& dtype, std::int64_t size) {
        if (!py::isinstance<py::array>(given)) return nullptr;
        const auto array = py::reinterpret_borrow<py::array>(given);
        if (!array.dtype().equal(dtype) || array.size() != size || (array.flags() & py::array::c_style) == 0)
            return nullptr;
        kept_.push_back(array);
        return static_cast<const char*>(array.data());
    }

    const char* there(py::handle given, const Place& place, const py::dtype& dtype, std::int64_t size) {
        std::optional<Borrowed> borrowed = borrow(given, "a parameter", place);
        if (!borrowed || !borrowed->is(dtype) || borrowed->view.rows * borrowed->view.cols != size) return nullptr;
        const fastbp_array& view = borrowed->view;
        kept_.push_back(std::move(borrowed->owner));
        return static_cast<const char*>(view.data);
    }

    py::object flat_;
    const void* flat_memory_ = nullptr;
    std::vector<py::object> kept_;
    std::vector<Extent> extents_;
    std::vector<const void*> weights_, biases_;
};

}  // namespace fastbp::python
