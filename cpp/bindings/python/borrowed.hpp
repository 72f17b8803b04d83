// Arrays of a caller's on a device: fastbp's own, or another library's by DLPack, looked at where they lie.
#pragma once

#include <optional>
#include <string>

#include "device_array.hpp"

namespace fastbp::python {

// Memory on a device, kept alive by `owner`.
struct Borrowed {
    fastbp_array view = {};
    bool read_only = false;
    py::object owner;

    std::string shape() const;
    // Whether the numbers are of the dtype and lie row-major without gaps.
    bool is(const py::dtype& dtype) const;
    bool without_gaps() const;
};

// NumPy's dtype of fastbp's number of a type.
py::dtype dtype_of(int type);

// Where the object says by DLPack that it lies on a GPU: its number.
std::optional<int> gpu_of(py::handle object, const char* name);

// A DeviceArray, or an exporter of DLPack, that lies at `place`, as a view; nothing where it lies with the process.
// Refuses what lies on another device, and what is no array of one or two dimensions of numbers.
std::optional<Borrowed> borrow(py::handle object, const char* name, const Place& place);

// The same as an array of fastbp's, of the dtype or, without one, its own: over its memory where that has no gaps, else
// the numbers are converted to a new array there.
std::optional<DeviceArray> lent(py::handle object, const char* name, const Place& place,
                                const std::optional<py::dtype>& dtype);

// The same as a new NumPy array.
std::optional<py::array> read_back(py::handle object, const char* name, const Place& place);

void register_borrowed(py::module_& m);

}  // namespace fastbp::python
