#include "arrays.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <string_view>

#include "borrowed.hpp"

namespace fastbp::python {
namespace {

std::string text(py::handle object) { return py::cast<std::string>(py::str(object)); }

std::string shape_text(const py::array& array) { return text(py::getattr(array, "shape")); }
std::string text(Shape shape) { return text(py::tuple(py::cast(std::vector(shape.begin(), shape.end())))); }

// NumPy's type numbers, which never change; -1 where the numbers are not real.
int type_of(int number) {
    static_assert(sizeof(long) == 8, "NumPy's long is taken as 64 bits");
    switch (number) {
        case 0: return FASTBP_BOOL;
        case 1: return FASTBP_INT8;
        case 2: return FASTBP_UINT8;
        case 3: return FASTBP_INT16;
        case 4: return FASTBP_UINT16;
        case 5: return FASTBP_INT32;
        case 6: return FASTBP_UINT32;
        case 7:
        case 9: return FASTBP_INT64;
        case 8:
        case 10: return FASTBP_UINT64;
        case 11: return FASTBP_FLOAT32;
        case 12: return FASTBP_FLOAT64;
        case 13: return FASTBP_LONG_DOUBLE;
        case 23: return FASTBP_FLOAT16;
        default: return -1;
    }
}

std::int64_t size_of(int type) {
    switch (type) {
        case FASTBP_BOOL:
        case FASTBP_INT8:
        case FASTBP_UINT8: return 1;
        case FASTBP_INT16:
        case FASTBP_UINT16:
        case FASTBP_FLOAT16: return 2;
        case FASTBP_INT32:
        case FASTBP_UINT32:
        case FASTBP_FLOAT32: return 4;
        case FASTBP_LONG_DOUBLE: return sizeof(long double);
        default: return 8;
    }
}

bool is_sparse(py::handle object) { return py::hasattr(object, "toarray") && py::hasattr(object, "nnz"); }

py::object numpy(const char* function) { return py::module_::import("numpy").attr(function); }

// NumPy has no such types; others add them to it, or have them for themselves.
bool is_narrow_float(const std::string& dtype) {
    return dtype.find("bfloat16") != std::string::npos || dtype.find("float8") != std::string::npos;
}

Refusal not_numbers(const std::string& who, const std::string& dtype, const std::string& cure = "") {
    return {FASTBP_TYPE_ERROR, who + " holds " + dtype + ", expected real numbers, integers or bools" +
                                   (is_narrow_float(dtype) ? ": convert it to float32" : cure)};
}

// A function of the Python module that converts frames and arrays of objects.
py::object frames(const char* function) { return py::module_::import("fastbp._frames").attr(function); }

bool holds_objects(const py::array& array) {
    constexpr int object_type = 17;  // NumPy's number
    return array.dtype().num() == object_type;
}

// The device of an exporter whose memory the host cannot read, as "cuda:0"; else "". The numbers are DLPack's.
std::string foreign_device(py::handle object) {
    if (!py::hasattr(object, "__dlpack_device__")) return "";
    try {
        const auto [type, number] = py::cast<std::pair<int, int>>(object.attr("__dlpack_device__")());
        const std::string where = ":" + std::to_string(number);
        switch (type) {
            case 1:   // the host itself,
            case 3:   // its memory pinned for CUDA
            case 11:  // or ROCm,
            case 13:  // and memory that CUDA moves to and fro
                return "";
            case 2: return "cuda" + where;
            case 8: return "metal" + where;
            case 10: return "rocm" + where;
            default: return "device " + std::to_string(type) + where;
        }
    } catch (const py::error_already_set&) {  // it has a device that DLPack does not know
        return "";
    }
}

// Calls NumPy for a view of the object.
template <class Call>
py::array view_of(py::handle object, const std::string& who, const char* expected, Call call) {
    return told_with_name(object, who, expected, Place(),
                          [&] { return py::reinterpret_steal<py::array>(call().release()); });
}

// An array over the object's own memory, never over a copy.
py::array shared(py::handle object, const std::string& who) {
    if (py::isinstance<py::array>(object)) return py::reinterpret_borrow<py::array>(object);
    if (py::hasattr(object, "__dlpack__"))
        return view_of(object, who, "written through DLPack",
                       [&] { return numpy("from_dlpack")(object, py::arg("copy") = false); });
    throw Refusal(FASTBP_TYPE_ERROR, who + " is a " + text(py::type::of(object).attr("__name__")) +
                                         ", expected a NumPy array or what shares its memory by DLPack");
}

}  // namespace

Refusal refusal(py::handle object, const std::string& who, const py::error_already_set& error, const char* expected,
                const Place& place) {
    if (const std::string device = foreign_device(object); !device.empty() && device != place.full_name()) {
        const char* copy = py::isinstance<DeviceArray>(object) ? ".numpy()"
                           : py::hasattr(object, "cpu")        ? ".cpu()"
                           : py::hasattr(object, "get")        ? ".get()"
                                                               : nullptr;
        return {FASTBP_VALUE_ERROR, who + " is on " + device + ", expected memory of the host: " +
                                        (copy ? "pass " + who + copy : "copy it there first")};
    }
    if (py::getattr(object, "requires_grad", py::none()).is(py::bool_(true)))
        return {FASTBP_VALUE_ERROR, who + " requires grad, which this call does not record: pass " + who + ".detach()"};
    const std::string dtype = text(py::getattr(object, "dtype", py::none()));
    if (is_narrow_float(dtype)) return not_numbers(who, dtype);
    return {FASTBP_VALUE_ERROR, who + " cannot be " + expected + ": " + text(error.value())};
}

namespace {

py::array array_of(py::handle object, const char* name) {
    if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_)
        return py::reinterpret_borrow<py::array>(object);
    if (is_sparse(object))
        throw Refusal(FASTBP_TYPE_ERROR, std::string(name) + " is a sparse " +
                                             text(py::type::of(object).attr("__name__")) +
                                             ", expected a dense array: pass " + name + ".toarray()");
    if (py::hasattr(object, "mask") && py::isinstance<py::array>(object)) {
        const bool weighed = std::string_view(name) == "y";
        throw Refusal(FASTBP_TYPE_ERROR, std::string(name) + " is a masked array, expected a plain one: fill it first" +
                                             (weighed ? "; a weight of 0 masks a target" : ""));
    }
    const bool only_dlpack = py::hasattr(object, "__dlpack__") && !py::hasattr(object, "__array__") &&
                             PyObject_CheckBuffer(object.ptr()) == 0;
    return view_of(object, name, "made an array of numbers", [&] {
        if (py::hasattr(object, "to_numpy")) return frames("frame_to_array")(object);
        return numpy(only_dlpack ? "from_dlpack" : "asarray")(object);
    });
}

}  // namespace

py::array as_array(py::handle object, const char* name) {
    const py::array array = array_of(object, name);
    if (!holds_objects(array)) return array;
    return view_of(array, name, "made an array of numbers", [&] { return frames("objects_to_numbers")(array); });
}

Input::Input(py::handle object, const char* name, const Place& place, bool optional) {
    if (object.is_none()) {
        if (optional) return;
        throw Refusal(FASTBP_TYPE_ERROR, std::string(name) + " is None, expected an array of real numbers");
    }
    if (place.distant())
        if (std::optional<Borrowed> borrowed = borrow(object, name, place)) {
            view_ = borrowed->view;
            array_ = std::move(borrowed->owner);
            return;
        }
    const py::array array = as_array(object, name);
    const py::dtype dtype = array.dtype();
    const int type = type_of(dtype.num());
    if (type < 0) throw not_numbers(name, text(dtype), text(frames("cure_for")(name, array, object)));
    if (array.ndim() != 1 && array.ndim() != 2)
        throw Refusal(FASTBP_VALUE_ERROR,
                      std::string(name) + " has shape " + shape_text(array) + ", expected 1 or 2 dimensions");
    const bool matrix = array.ndim() == 2;
    view_.data = const_cast<void*>(array.data());
    view_.type = type;
    view_.byte_swapped = dtype.byteorder() == '>' || (dtype.byteorder() == '<' && PY_BIG_ENDIAN);
    view_.dimensions = std::int32_t(array.ndim());
    view_.rows = array.shape(0);
    view_.cols = matrix ? array.shape(1) : 1;
    view_.row_stride = array.strides(0);
    view_.col_stride = matrix ? array.strides(1) : array.itemsize();
    array_ = array;
}

Input Input::rows(py::handle object, const char* name, const Place& place) {
    const bool plain = Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_;
    if (plain || !py::hasattr(object, "tocsr")) return Input(object, name, place);
    Input input;
    input.take_compressed(object, name);
    return input;
}

Extent extent_of(const Input& input, const char* name) {
    const fastbp_array& view = input.view();
    const char* data = static_cast<const char*>(view.data);
    const std::int64_t size = size_of(view.type);
    if (view.starts != nullptr) return {name, data, data + input.kept() * size};
    if (data == nullptr || view.rows == 0 || view.cols == 0) return {name, nullptr, nullptr};
    const std::int64_t down = (view.rows - 1) * view.row_stride, along = (view.cols - 1) * view.col_stride;
    return {name, data + std::min<std::int64_t>(down, 0) + std::min<std::int64_t>(along, 0),
            data + std::max<std::int64_t>(down, 0) + std::max<std::int64_t>(along, 0) + size};
}

Extent extent_of(py::handle array, const char* name) {
    const char* data = static_cast<const char*>(memory_of(array));
    const py::ssize_t bytes = py::isinstance<py::array>(array) ? py::reinterpret_borrow<py::array>(array).nbytes()
                                                               : py::cast<const DeviceArray&>(array).bytes();
    return {name, data, data + bytes};
}

namespace {

void refuse_overlap(const Extent& mine, const std::vector<Extent>& inputs) {
    for (const Extent& other : inputs)
        if (mine.begin < other.end && other.begin < mine.end)
            throw Refusal(FASTBP_VALUE_ERROR, std::string(mine.name) + " overlaps " + other.name +
                                                  " in memory, expected memory of its own");
}

py::array checked(const py::array& array, const char* name, const py::dtype& dtype, Shape shape,
                  const std::vector<Extent>& inputs) {
    const std::string who = name;
    if (!array.dtype().equal(dtype))
        throw Refusal(FASTBP_VALUE_ERROR, who + " has dtype " + text(array.dtype()) + ", expected " + text(dtype));
    if (array.ndim() != py::ssize_t(shape.size()) || !std::equal(shape.begin(), shape.end(), array.shape()))
        throw Refusal(FASTBP_VALUE_ERROR, who + " has shape " + shape_text(array) + ", expected " + text(shape));
    if (!array.writeable()) throw Refusal(FASTBP_VALUE_ERROR, who + " is read-only, expected a writable array");
    if ((array.flags() & py::array::c_style) == 0)
        throw Refusal(FASTBP_VALUE_ERROR, who + " is not C-contiguous, expected a row-major array without gaps");
    if (reinterpret_cast<std::uintptr_t>(array.data()) % std::uintptr_t(dtype.itemsize()) != 0)
        throw Refusal(FASTBP_VALUE_ERROR, who + " is not aligned to its numbers");
    refuse_overlap(extent_of(array, name), inputs);
    return array;
}

// As py::array(dtype, shape), which would allocate the shape and the strides.
py::array new_array(const py::dtype& dtype, Shape shape) {
    const auto& numpy = py::detail::npy_api::get();
    PyObject* made = numpy.PyArray_NewFromDescr_(numpy.PyArray_Type_, dtype.inc_ref().ptr(), int(shape.size()),
                                                 shape.data(), nullptr, nullptr, 0, nullptr);
    if (made == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(made);
}

}  // namespace

Output::Output(const Place& place, const py::dtype& dtype, Shape shape) {
    if (place.distant())
        array_ = py::cast(DeviceArray(place, dtype, {shape.begin(), shape.end()}));
    else
        array_ = new_array(dtype, shape);
    given_ = array_;
    data_ = memory_of(array_);
}

Output::Output(py::handle object, const char* name, const Place& place, const py::dtype& dtype, Shape shape,
               const std::vector<Extent>& inputs)
    : given_(py::reinterpret_borrow<py::object>(object)) {
    if (place.distant()) {
        take_distant(object, name, place, dtype, shape, inputs);
        return;
    }
    const py::array array = checked(shared(object, name), name, dtype, shape, inputs);
    data_ = const_cast<void*>(array.data());
    array_ = array;
}

void Output::take_distant(py::handle object, const char* name, const Place& place, const py::dtype& dtype, Shape shape,
                          const std::vector<Extent>& inputs) {
    const std::string who = name;
    const std::optional<Borrowed> borrowed = borrow(object, name, place);
    if (!borrowed)
        throw Refusal(FASTBP_VALUE_ERROR,
                      who + " lies with the process, expected an array on " + place.device + ", where the net lies");
    const std::string came = text(dtype_of(borrowed->view.type)), expected = text(shape);
    if (came != text(dtype))
        throw Refusal(FASTBP_VALUE_ERROR, who + " has dtype " + came + ", expected " + text(dtype));
    if (borrowed->shape() != expected)
        throw Refusal(FASTBP_VALUE_ERROR, who + " has shape " + borrowed->shape() + ", expected " + expected);
    if (borrowed->read_only) throw Refusal(FASTBP_VALUE_ERROR, who + " is read-only, expected a writable array");
    if (!borrowed->without_gaps())
        throw Refusal(FASTBP_VALUE_ERROR, who + " is not C-contiguous, expected a row-major array without gaps");
    data_ = borrowed->view.data;
    const DeviceArray array(place, dtype, {shape.begin(), shape.end()}, data_, borrowed->owner);
    array_ = py::cast(array);
    refuse_overlap(extent_of(array_, name), inputs);
}

}  // namespace fastbp::python
