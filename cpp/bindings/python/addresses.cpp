#include "addresses.hpp"

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

}  // namespace

py::object addresses(const py::sequence& tensors, const py::sequence& shapes, py::handle dtype, int gpu) {
    static PyObject* const of_dtype = name_of("dtype");
    static PyObject* const of_shape = name_of("shape");
    static PyObject* const is_cpu = name_of("is_cpu");
    static PyObject* const is_cuda = name_of("is_cuda");
    static PyObject* const get_device = name_of("get_device");
    static PyObject* const is_contiguous = name_of("is_contiguous");
    static PyObject* const is_neg = name_of("is_neg");
    static PyObject* const data_ptr = name_of("data_ptr");
    const std::size_t count = tensors.size();
    if (shapes.size() != count) return py::none();
    py::list found(count);
    for (std::size_t k = 0; k < count; ++k) {
        const py::object tensor = tensors[k], shape = shapes[k];
        const bool fits =
            answered(get(tensor, of_dtype)).is(dtype) && answered(get(tensor, of_shape)).equal(shape) &&
            (gpu < 0 ? is_true(get(tensor, is_cpu))
                     : is_true(get(tensor, is_cuda)) && answered(ask(tensor, get_device)).equal(py::int_(gpu))) &&
            answered(ask(tensor, is_contiguous)).is(py::bool_(true)) &&
            answered(ask(tensor, is_neg)).is(py::bool_(false));
        if (!fits) return py::none();
        found[k] = answered(ask(tensor, data_ptr));
    }
    return found;
}

}  // namespace fastbp::python
