#include "addresses.hpp"

#include <optional>

#include "dlpack.hpp"

namespace fastbp::python {
namespace {

// The attribute's value, by a name that is looked up by its identity.
py::object get(py::handle object, PyObject* name) {
    return py::reinterpret_steal<py::object>(PyObject_GetAttr(object.ptr(), name));
}

py::object ask(py::handle object, PyObject* method) {
    return py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object.ptr(), method));
}

PyObject* name_of(const char* text) {
    PyObject* name = PyUnicode_InternFromString(text);
    if (name == nullptr) throw py::error_already_set();
    return name;
}

template <class Value>
Value answered(Value value) {
    if (!value) throw py::error_already_set();
    return value;
}

bool is_true(py::object value) { return answered(std::move(value)).is(py::bool_(true)); }

// The table of functions of the objects' own library, which tells in a call what else takes a call for each attribute;
// null where there is none.
const dlpack::Exchange* exchange_of(py::handle tensor) {
    static PyObject* const of_exchange = name_of("__dlpack_c_exchange_api__");
    const py::object capsule = get(py::type::handle_of(tensor), of_exchange);
    const void* table = capsule ? PyCapsule_GetPointer(capsule.ptr(), dlpack::Exchange::capsule) : nullptr;
    PyErr_Clear();
    const auto* exchange = static_cast<const dlpack::Exchange*>(table);
    return exchange != nullptr && exchange->major == 1 ? exchange : nullptr;
}

// Whether the table has told where the tensor lies and how.
bool seen(const dlpack::Exchange* exchange, py::handle tensor, dlpack::Tensor& view) {
    if (exchange == nullptr || exchange->look == nullptr) return false;
    const bool told = exchange->look(tensor.ptr(), &view) == 0;
    PyErr_Clear();
    return told;
}

bool row_major_as(const dlpack::Tensor& view, py::handle shape) {
    const auto sizes = py::reinterpret_borrow<py::tuple>(shape);
    if (std::size_t(view.dimensions) != sizes.size()) return false;
    std::int64_t step = 1, count = 1;
    bool gaps = false;
    for (std::int32_t i = view.dimensions - 1; i >= 0; --i) {
        if (view.shape[i] != PyLong_AsLongLong(sizes[std::size_t(i)].ptr())) return false;
        gaps = gaps || (view.shape[i] != 1 && view.strides != nullptr && view.strides[i] != step);
        step *= view.shape[i];
        count *= view.shape[i];
    }
    return count == 0 || !gaps;
}

bool lies_on(const dlpack::Device& device, int gpu) {
    return gpu < 0 ? device.type == dlpack::cpu : device.type == dlpack::cuda && device.number == gpu;
}

bool fits_by_attributes(py::handle tensor, py::handle shape, py::handle dtype, int gpu) {
    static PyObject* const of_dtype = name_of("dtype");
    static PyObject* const of_shape = name_of("shape");
    static PyObject* const is_cpu = name_of("is_cpu");
    static PyObject* const is_cuda = name_of("is_cuda");
    static PyObject* const get_device = name_of("get_device");
    static PyObject* const is_contiguous = name_of("is_contiguous");
    return answered(get(tensor, of_dtype)).is(dtype) && answered(get(tensor, of_shape)).equal(shape) &&
           (gpu < 0 ? is_true(get(tensor, is_cpu))
                    : is_true(get(tensor, is_cuda)) && answered(ask(tensor, get_device)).equal(py::int_(gpu))) &&
           is_true(ask(tensor, is_contiguous));
}

}  // namespace

py::object addresses(const py::sequence& tensors, const py::sequence& shapes, py::handle dtype, int gpu) {
    static PyObject* const is_neg = name_of("is_neg");
    static PyObject* const data_ptr = name_of("data_ptr");
    static PyObject* const of_dtype = name_of("dtype");
    const std::size_t count = tensors.size();
    if (shapes.size() != count) return py::none();
    std::optional<dlpack::Type> type;  // that of the dtype, as the first tensor's tells
    py::list found(count);
    for (std::size_t k = 0; k < count; ++k) {
        const py::object tensor = tensors[k], shape = shapes[k];
        dlpack::Tensor view;
        const bool by_table = seen(exchange_of(tensor), tensor, view);
        if (by_table && !type) {
            if (!answered(get(tensor, of_dtype)).is(dtype)) return py::none();
            type = view.type;
        }
        const bool fits = by_table ? row_major_as(view, shape) && view.type == *type && lies_on(view.device, gpu)
                                   : fits_by_attributes(tensor, shape, dtype, gpu);
        if (!fits || !answered(ask(tensor, is_neg)).is(py::bool_(false))) return py::none();
        if (by_table)
            found[k] = py::int_(reinterpret_cast<Address>(view.data) + view.byte_offset);
        else
            found[k] = answered(ask(tensor, data_ptr));
    }
    return found;
}

}  // namespace fastbp::python
