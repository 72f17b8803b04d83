// Arrays in a device's memory: fastbp's own, and those of other libraries by DLPack.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fastbp/fastbp.hpp"

namespace fastbp::python {

namespace py = pybind11;

// Where the arrays of a net lie.
struct Place {
    std::string device = "cpu";
    int number = -1;  // of the GPU

    Place() = default;
    explicit Place(const std::string& name);
    bool distant() const { return number >= 0; }
};

// Numbers in a device's memory, row-major without gaps. Copies of the object and parts of it share the memory.
class DeviceArray {
  public:
    using Shape = std::vector<py::ssize_t>;

    DeviceArray(const Place& place, py::dtype dtype, Shape shape);
    // Over memory of the core's, which outlives it.
    DeviceArray(const Place& place, py::dtype dtype, Shape shape, void* data)
        : place_(place), dtype_(std::move(dtype)), shape_(std::move(shape)), data_(static_cast<char*>(data)) {}

    const Place& place() const { return place_; }
    const py::dtype& dtype() const { return dtype_; }
    const Shape& shape() const { return shape_; }
    py::ssize_t size() const;
    py::ssize_t bytes() const { return size() * dtype_.itemsize(); }
    void* data() const { return data_; }

    // Numbers from `first` on, in this shape.
    DeviceArray part(py::ssize_t first, Shape shape) const;
    py::object item(const py::object& key) const;
    py::array numpy() const;
    DeviceArray copy() const;
    // What may be broadcast to its shape; DeviceArrays too.
    void fill(py::object value) const;
    py::capsule dlpack(const py::object& stream, const py::object& max_version, const py::object& dl_device,
                       const py::object& copy) const;
    std::string text() const;

  private:
    // The numbers of one of the same place, shape and dtype, without the host.
    void take(const DeviceArray& from) const;
    template <class Tensor>
    py::capsule exported() const;

    Place place_;
    py::dtype dtype_;
    Shape shape_;
    std::shared_ptr<void> memory_;
    char* data_ = nullptr;
};

// An array of the package's own, here or on a device.
void* memory_of(py::handle array);

// Memory of another library on a device, kept alive by `owner`.
struct Borrowed {
    fastbp_array view = {};
    bool read_only = false;
    py::object owner;
};

// Where the object says by DLPack that it lies on a GPU: its number.
std::optional<int> gpu_of(py::handle object);

// A DeviceArray, or an exporter of DLPack, that lies at `place`, as a view; nothing where it lies with the process.
// Refuses what lies on another device, and what is no array of one or two dimensions of numbers.
std::optional<Borrowed> borrow(py::handle object, const char* name, const Place& place);

void register_device_array(py::module_& m);

}  // namespace fastbp::python
