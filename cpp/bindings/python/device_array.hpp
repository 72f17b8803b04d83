// Arrays of fastbp's in a device's memory.
#pragma once

#include <pybind11/numpy.h>

#include <memory>
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
    std::string full_name() const { return distant() ? "cuda:" + std::to_string(number) : device; }
};

// Numbers in a device's memory, row-major without gaps. Copies of the object and parts of it share the memory.
class DeviceArray {
  public:
    using Shape = std::vector<py::ssize_t>;

    DeviceArray(const Place& place, py::dtype dtype, Shape shape);
    // Over memory that `owner` keeps alive; without one, over the core's, which outlives it.
    DeviceArray(const Place& place, py::dtype dtype, Shape shape, void* data, py::object owner = {});

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
    // The numbers of a view of as many, converted; an array of float32 or float64 alone takes them.
    void load(const fastbp_array& from) const;
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

// The stream that fastbp's calls follow, in DLPack's numbers: 1 is the default stream.
py::object stream_number();

void register_device_array(py::module_& m);

}  // namespace fastbp::python
