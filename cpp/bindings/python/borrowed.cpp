#include "borrowed.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "dlpack.hpp"

namespace fastbp::python {
namespace {

// fastbp's number of a type; -1 where it has none.
int type_of(const dlpack::Type& type) {
    if (type.lanes != 1) return -1;
    const auto choose = [&](int bits8, int bits16, int bits32, int bits64) {
        switch (type.bits) {
            case 8: return bits8;
            case 16: return bits16;
            case 32: return bits32;
            case 64: return bits64;
            default: return -1;
        }
    };
    switch (type.code) {
        case dlpack::signed_integer: return choose(FASTBP_INT8, FASTBP_INT16, FASTBP_INT32, FASTBP_INT64);
        case dlpack::unsigned_integer: return choose(FASTBP_UINT8, FASTBP_UINT16, FASTBP_UINT32, FASTBP_UINT64);
        case dlpack::floating_point: return choose(-1, FASTBP_FLOAT16, FASTBP_FLOAT32, FASTBP_FLOAT64);
        case dlpack::boolean: return choose(FASTBP_BOOL, -1, -1, -1);
        default: return -1;
    }
}

fastbp_array view_of(const dlpack::Tensor& tensor, int type) {
    const bool matrix = tensor.dimensions == 2;
    const std::int64_t size = tensor.type.bits / 8;
    fastbp_array view = {};
    view.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    view.type = type;
    view.dimensions = tensor.dimensions;
    view.rows = tensor.shape[0];
    view.cols = matrix ? tensor.shape[1] : 1;
    view.col_stride = size * (matrix && tensor.strides != nullptr ? tensor.strides[1] : 1);
    view.row_stride = size * (tensor.strides != nullptr ? tensor.strides[0] : view.cols);
    view.on_device = 1;
    return view;
}

// The object's capsule; what its library complains of is told with our name.
py::object capsule_of(py::handle object, const char* name, const Place& place) {
    const py::object stream = stream_number();
    return told_with_name(object, name, "read through DLPack", place, [&] {
        const py::object give = object.attr("__dlpack__");
        try {
            return give(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(1, 0));
        } catch (py::error_already_set& error) {
            if (!error.matches(PyExc_TypeError)) throw;
            return give(py::arg("stream") = stream);  // of before max_version
        }
    });
}

Borrowed imported(py::handle object, const char* name, const Place& place) {
    Borrowed found;
    found.owner = capsule_of(object, name, place);
    PyObject* capsule = found.owner.ptr();
    const dlpack::Tensor* tensor = nullptr;
    if (PyCapsule_IsValid(capsule, dlpack::VersionedManaged::capsule)) {
        const auto* managed =
            static_cast<dlpack::VersionedManaged*>(PyCapsule_GetPointer(capsule, dlpack::VersionedManaged::capsule));
        tensor = &managed->tensor;
        found.read_only = (managed->flags & dlpack::VersionedManaged::read_only) != 0;
    } else if (PyCapsule_IsValid(capsule, dlpack::Managed::capsule)) {
        tensor = &static_cast<dlpack::Managed*>(PyCapsule_GetPointer(capsule, dlpack::Managed::capsule))->tensor;
        found.read_only = true;  // it cannot say otherwise
    }
    const std::string who = name;
    if (tensor == nullptr) throw Refusal(FASTBP_TYPE_ERROR, who + ".__dlpack__ gives no capsule of a tensor");
    const int type = type_of(tensor->type);
    if (type < 0)
        throw Refusal(FASTBP_TYPE_ERROR, who + " holds numbers of DLPack's type " + std::to_string(tensor->type.code) +
                                             " with " + std::to_string(tensor->type.bits) +
                                             " bits, expected real numbers, integers or bools");
    if (tensor->dimensions != 1 && tensor->dimensions != 2)
        throw Refusal(FASTBP_VALUE_ERROR,
                      who + " has " + std::to_string(tensor->dimensions) + " dimensions, expected 1 or 2");
    found.view = view_of(*tensor, type);
    const bool empty = found.view.rows == 0 || found.view.cols == 0;
    if (!empty && reinterpret_cast<std::uintptr_t>(found.view.data) % (tensor->type.bits / 8U) != 0)
        throw Refusal(FASTBP_VALUE_ERROR, who + " is not aligned to its numbers");
    return found;
}

}  // namespace

std::string Borrowed::shape() const {
    return "(" + std::to_string(view.rows) + (view.dimensions == 2 ? ", " + std::to_string(view.cols) : ",") + ")";
}

bool Borrowed::is(const py::dtype& dtype) const { return dtype.equal(dtype_of(view.type)) && without_gaps(); }

bool Borrowed::without_gaps() const {
    const std::int64_t size = dtype_of(view.type).itemsize();
    return (view.cols <= 1 || view.col_stride == size) && (view.rows <= 1 || view.row_stride == view.cols * size);
}

py::dtype dtype_of(int type) {
    static constexpr const char* names[] = {"f4", "f8", "f2", "g", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"};
    static_assert(FASTBP_FLOAT32 == 0 && FASTBP_BOOL == 4 && FASTBP_UINT64 + 1 == std::size(names));
    return py::dtype(names[type]);
}

std::optional<int> gpu_of(py::handle object, const char* name) {
    if (!py::hasattr(object, "__dlpack_device__")) return std::nullopt;
    const auto [type, number] = told_with_name(object, name, "read through DLPack", Place(), [&] {
        return py::cast<std::pair<int, int>>(object.attr("__dlpack_device__")());
    });
    return type == dlpack::cuda ? std::optional(number) : std::nullopt;
}

std::optional<Borrowed> borrow(py::handle object, const char* name, const Place& place) {
    const std::optional<int> gpu = gpu_of(object, name);
    if (!gpu) return std::nullopt;
    if (*gpu != place.number)
        throw Refusal(FASTBP_VALUE_ERROR, std::string(name) + " is on cuda:" + std::to_string(*gpu) +
                                              ", expected memory of the host or of " + place.full_name() +
                                              ", where the net lies");
    return imported(object, name, place);
}

std::optional<DeviceArray> lent(py::handle object, const char* name, const Place& place,
                                const std::optional<py::dtype>& dtype) {
    std::optional<Borrowed> found = borrow(object, name, place);
    if (!found) return std::nullopt;
    const py::dtype wanted = dtype.value_or(dtype_of(found->view.type));
    DeviceArray::Shape shape{found->view.rows};
    if (found->view.dimensions == 2) shape.push_back(found->view.cols);
    if (found->is(wanted)) return DeviceArray(place, wanted, shape, found->view.data, std::move(found->owner));
    if (!dtype)
        throw Refusal(FASTBP_VALUE_ERROR,
                      std::string(name) + " is not C-contiguous, expected a row-major array without gaps");
    const DeviceArray made(place, wanted, shape);
    made.load(found->view);
    return made;
}

std::optional<py::array> read_back(py::handle object, const char* name, const Place& place) {
    const std::optional<Borrowed> found = borrow(object, name, place);
    if (!found) return std::nullopt;
    const fastbp_array& view = found->view;
    const py::dtype dtype = dtype_of(view.type);
    DeviceArray::Shape shape{view.rows}, strides{view.row_stride};
    if (view.dimensions == 2) {
        shape.push_back(view.cols);
        strides.push_back(view.col_stride);
    }
    // Gaps come along: one copy of all that lies between the first number and the last.
    const bool empty = view.rows == 0 || view.cols == 0;
    const std::int64_t bytes =
        empty ? 0 : (view.rows - 1) * view.row_stride + (view.cols - 1) * view.col_stride + dtype.itemsize();
    const DeviceArray span(place, py::dtype::of<std::uint8_t>(), {bytes}, view.data, found->owner);
    const py::array host = span.numpy();
    return py::array(dtype, shape, strides, host.data(), host);
}

void register_borrowed(py::module_& m) {
    m.def(
        "gpu_of",
        [](const char* method, const char* name, py::handle object) {
            return named(method, [&] { return gpu_of(object, name); });
        },
        py::arg("method"), py::arg("name"), py::arg("object"));
    m.def(
        "lent",
        [](const char* method, const char* name, py::handle object, const std::string& device,
           const std::optional<py::dtype>& dtype) {
            return named(method, [&] { return lent(object, name, Place(device), dtype); });
        },
        py::arg("method"), py::arg("name"), py::arg("object"), py::arg("device"), py::arg("dtype"));
    m.def(
        "read_back",
        [](const char* method, const char* name, py::handle object, const std::string& device) {
            return named(method, [&] { return read_back(object, name, Place(device)); });
        },
        py::arg("method"), py::arg("name"), py::arg("object"), py::arg("device"));
}

}  // namespace fastbp::python
