#include "device_array.hpp"

#include <pybind11/stl.h>

#include <numeric>

#include "arrays.hpp"
#include "dlpack.hpp"

namespace fastbp::python {
namespace {

py::object numpy_function(const char* name) { return py::module_::import("numpy").attr(name); }

// Waits without the GIL.
template <class Call>
void call(Call body) {
    fastbp_status status;
    {
        const py::gil_scoped_release released;
        status = body();
    }
    require(status);
}

std::string name_of(const Place& place) { return "cuda:" + std::to_string(place.number); }

dlpack::Type dlpack_type(const py::dtype& dtype) {
    const auto bits = std::uint8_t(8 * dtype.itemsize());
    switch (dtype.kind()) {
        case 'b': return {dlpack::boolean, bits, 1};
        case 'i': return {dlpack::signed_integer, bits, 1};
        case 'u': return {dlpack::unsigned_integer, bits, 1};
        default: return {dlpack::floating_point, bits, 1};
    }
}

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

fastbp_array view_of(void* data, int type, std::int64_t size, const std::int64_t* shape, const std::int64_t* strides,
                     int dimensions) {
    const bool matrix = dimensions == 2;
    fastbp_array view = {};
    view.data = data;
    view.type = type;
    view.dimensions = dimensions;
    view.rows = shape[0];
    view.cols = matrix ? shape[1] : 1;
    view.col_stride = size * (matrix && strides != nullptr ? strides[1] : 1);
    view.row_stride = size * (strides != nullptr ? strides[0] : view.cols);
    view.on_device = 1;
    return view;
}

Borrowed view_of(const DeviceArray& array, py::handle owner) {
    const std::vector<std::int64_t> shape(array.shape().begin(), array.shape().end());
    Borrowed found;
    found.view = view_of(array.data(), type_of(dlpack_type(array.dtype())), array.dtype().itemsize(), shape.data(),
                         nullptr, int(shape.size()));
    found.owner = py::reinterpret_borrow<py::object>(owner);
    return found;
}

// The stream that fastbp's calls follow, in DLPack's numbers: 1 is the default stream.
py::object stream_number() {
    void* stream = fastbp_get_stream();
    return stream == nullptr ? py::int_(1) : py::int_(reinterpret_cast<std::uintptr_t>(stream));
}

py::object capsule_of(py::handle object) {
    try {
        return object.attr("__dlpack__")(py::arg("stream") = stream_number(),
                                         py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError)) throw;
        return object.attr("__dlpack__")(py::arg("stream") = stream_number());  // of before max_version
    }
}

Borrowed imported(py::handle object, const char* name) {
    Borrowed found;
    found.owner = capsule_of(object);
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
    found.view = view_of(static_cast<char*>(tensor->data) + tensor->byte_offset, type, tensor->type.bits / 8,
                         tensor->shape, tensor->strides, tensor->dimensions);
    return found;
}

}  // namespace

Place::Place(const std::string& name) : device(name) {
    if (name == "cuda") number = 0;
    if (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
        name.find_first_not_of("0123456789", 5) == std::string::npos)
        number = std::stoi(name.substr(5));
}

DeviceArray::DeviceArray(const Place& place, py::dtype dtype, Shape shape)
    : place_(place), dtype_(std::move(dtype)), shape_(std::move(shape)) {
    void* memory = nullptr;
    call([&] { return fastbp_allocate(place.device.c_str(), std::size_t(bytes()), &memory); });
    memory_.reset(memory, [device = place.device](void* given) { fastbp_release(device.c_str(), given); });
    data_ = static_cast<char*>(memory);
}

py::ssize_t DeviceArray::size() const {
    return std::accumulate(shape_.begin(), shape_.end(), py::ssize_t(1), std::multiplies<>());
}

DeviceArray DeviceArray::part(py::ssize_t first, Shape shape) const {
    DeviceArray found = *this;
    found.data_ += first * dtype_.itemsize();
    found.shape_ = std::move(shape);
    return found;
}

py::object DeviceArray::item(const py::object& key) const {
    if (py::isinstance<py::ellipsis>(key)) return py::cast(*this);
    py::ssize_t begin = 0, end = 0, step = 0, length = 0;
    if (!py::isinstance<py::slice>(key) || shape_.empty() ||
        !py::slice(key).compute(shape_[0], &begin, &end, &step, &length) || step != 1)
        throw py::type_error(
            "an array on a device takes slices of whole rows, such as a[:10]; for more use .numpy(), or "
            "torch or cupy on its memory by DLPack");
    Shape shape = shape_;
    shape[0] = length;
    return py::cast(part(shape_[0] == 0 ? 0 : begin * (size() / shape_[0]), shape));
}

py::array DeviceArray::numpy() const {
    py::array host(dtype_, shape_);
    void* to = host.mutable_data();
    const auto n = std::size_t(bytes());
    call([&] { return fastbp_download(place_.device.c_str(), data_, to, n); });
    return host;
}

DeviceArray DeviceArray::copy() const {
    DeviceArray made(place_, dtype_, shape_);
    made.take(*this);
    return made;
}

// As in NumPy, numbers of its own memory are taken as they were before.
void DeviceArray::take(const DeviceArray& from) const {
    const auto n = std::size_t(bytes());
    if (from.data_ == data_) return;
    if (from.data_ < data_ + n && data_ < from.data_ + n) return take(from.copy());
    call([&] { return fastbp_copy(place_.device.c_str(), from.data_, data_, n); });
}

void DeviceArray::fill(py::object value) const {
    if (py::isinstance<DeviceArray>(value)) {
        const auto& from = py::cast<const DeviceArray&>(value);
        if (from.place_.number == place_.number && from.dtype_.equal(dtype_) && from.shape_ == shape_)
            return take(from);
        value = from.numpy();
    }
    const py::array given = as_array(value, "the value");
    if (std::string("biuf").find(given.dtype().kind()) == std::string::npos)
        throw py::type_error("the value holds " + py::cast<std::string>(py::str(given.dtype())) +
                             ", expected real numbers");
    const py::array host = py::array::ensure(
        numpy_function("ascontiguousarray")(numpy_function("broadcast_to")(given, shape_), py::arg("dtype") = dtype_));
    const void* from = host.data();
    const auto n = std::size_t(bytes());
    call([&] { return fastbp_upload(place_.device.c_str(), from, data_, n); });
}

template <class Tensor>
py::capsule DeviceArray::exported() const {
    struct Exported {
        Tensor managed;
        std::shared_ptr<void> memory;
        std::vector<std::int64_t> shape, strides;
    };
    auto* made = new Exported;
    made->memory = memory_;
    made->shape.assign(shape_.begin(), shape_.end());
    made->strides.assign(shape_.size(), 1);
    for (std::size_t k = shape_.size(); k-- > 1;) made->strides[k - 1] = made->strides[k] * shape_[k];
    made->managed.context = made;
    made->managed.deleter = [](Tensor* self) { delete static_cast<Exported*>(self->context); };
    made->managed.tensor = {data_,
                            {dlpack::cuda, place_.number},
                            std::int32_t(shape_.size()),
                            dlpack_type(dtype_),
                            made->shape.data(),
                            made->strides.data(),
                            0};
    return py::capsule(&made->managed, Tensor::capsule, [](PyObject* capsule) {
        if (!PyCapsule_IsValid(capsule, Tensor::capsule)) return;  // whoever took it has it now
        auto* managed = static_cast<Tensor*>(PyCapsule_GetPointer(capsule, Tensor::capsule));
        managed->deleter(managed);
    });
}

py::capsule DeviceArray::dlpack(const py::object& stream, const py::object& max_version, const py::object& dl_device,
                                const py::object& copy) const {
    if (!dl_device.is_none() && !dl_device.equal(py::make_tuple(int(dlpack::cuda), place_.number)))
        throw py::buffer_error("the array lies on " + name_of(place_) + " and is not copied to another device");
    if (!copy.is_none() && py::cast<bool>(copy)) return this->copy().dlpack(stream, max_version, dl_device, py::none());
    const bool waits = stream.is_none() || !stream.equal(py::int_(-1));
    if (waits && !(stream.is_none() ? py::int_(1) : stream).equal(stream_number()))
        call([&] { return fastbp_synchronize(place_.device.c_str()); });
    const bool versioned = !max_version.is_none() && py::cast<int>(py::tuple(max_version)[0]) >= 1;
    return versioned ? exported<dlpack::VersionedManaged>() : exported<dlpack::Managed>();
}

std::string DeviceArray::text() const {
    return "DeviceArray(shape=" + py::cast<std::string>(py::str(py::tuple(py::cast(shape_)))) +
           ", dtype=" + py::cast<std::string>(py::str(dtype_)) + ", device='" + name_of(place_) + "')";
}

void* memory_of(py::handle array) {
    if (py::isinstance<DeviceArray>(array)) return py::cast<const DeviceArray&>(array).data();
    return const_cast<void*>(py::reinterpret_borrow<py::array>(array).data());
}

std::optional<int> gpu_of(py::handle object) {
    if (!py::hasattr(object, "__dlpack_device__")) return std::nullopt;
    const auto [type, number] = py::cast<std::pair<int, int>>(object.attr("__dlpack_device__")());
    return type == dlpack::cuda ? std::optional(number) : std::nullopt;
}

std::optional<Borrowed> borrow(py::handle object, const char* name, const Place& place) {
    const std::optional<int> gpu = gpu_of(object);
    if (!gpu) return std::nullopt;
    if (*gpu != place.number)
        throw Refusal(FASTBP_VALUE_ERROR, std::string(name) + " is on cuda:" + std::to_string(*gpu) +
                                              ", expected memory of the host or of " + name_of(place) +
                                              ", where the net lies");
    if (!py::isinstance<DeviceArray>(object)) return imported(object, name);
    const auto& array = py::cast<const DeviceArray&>(object);
    if (array.shape().empty() || array.shape().size() > 2)
        throw Refusal(FASTBP_VALUE_ERROR, std::string(name) + " is " + array.text() + ", expected 1 or 2 dimensions");
    return view_of(array, object);
}

namespace {

void register_functions(py::module_& m) {
    m.def(
        "empty_on",
        [](const std::string& device, const py::dtype& dtype, const DeviceArray::Shape& shape) {
            return DeviceArray(Place(device), dtype, shape);
        },
        py::arg("device"), py::arg("dtype"), py::arg("shape"));
    m.def(
        "why_not",
        [](const std::string& device) {
            return fastbp_check_device(device.c_str()) == FASTBP_OK ? std::string() : fastbp_last_error();
        },
        py::arg("device"));
    m.def(
        "set_stream", [](std::uintptr_t stream) { fastbp_set_stream(reinterpret_cast<void*>(stream)); },
        py::arg("stream"));
    m.def("get_stream", [] { return reinterpret_cast<std::uintptr_t>(fastbp_get_stream()); });
}

}  // namespace

void register_device_array(py::module_& m) {
    py::class_<DeviceArray>(m, "DeviceArray", R"(An array in the memory of a device, row-major without gaps.

    What nets on a device take and give. torch.from_dlpack(a), cupy.from_dlpack(a) and jax.dlpack.from_dlpack(a) compute
    on its memory without a copy; ``a[...] = value`` writes it from the host, ``a.numpy()`` copies it there, and nothing
    else does. Made by `fastbp.to_device`.

    Examples
    --------
    >>> import fastbp as fb
    >>> if fb.cuda.is_available():
    ...     a = fb.to_device([[1.0, 2.0]])
    ...     a[...] = 3.0
    ...     a.numpy().sum()
    )")
        .def_property_readonly("shape", [](const DeviceArray& a) { return py::tuple(py::cast(a.shape())); })
        .def_property_readonly("ndim", [](const DeviceArray& a) { return a.shape().size(); })
        .def_property_readonly("dtype", &DeviceArray::dtype)
        .def_property_readonly("size", &DeviceArray::size)
        .def_property_readonly("nbytes", &DeviceArray::bytes)
        .def_property_readonly("device", [](const DeviceArray& a) { return name_of(a.place()); })
        .def("numpy", &DeviceArray::numpy, "A new NumPy array with its numbers.")
        .def("copy", &DeviceArray::copy, "The same numbers in memory of their own on the same device.")
        .def("part", &DeviceArray::part, py::arg("first"), py::arg("shape"),
             "Numbers from `first` on, in this shape, in the same memory.")
        .def("__getitem__", &DeviceArray::item)
        .def("__setitem__", [](const DeviceArray& a, const py::object& key,
                               py::object value) { py::cast<const DeviceArray&>(a.item(key)).fill(std::move(value)); })
        .def("__len__",
             [](const DeviceArray& a) {
                 if (a.shape().empty()) throw py::type_error("an array without dimensions has no length");
                 return a.shape()[0];
             })
        .def("__repr__", &DeviceArray::text)
        .def(py::pickle([](const DeviceArray& a) { return py::make_tuple(name_of(a.place()), a.numpy()); },
                        [](const py::tuple& state) {
                            const auto numbers = py::cast<py::array>(state[1]);
                            const DeviceArray::Shape shape(numbers.shape(), numbers.shape() + numbers.ndim());
                            const DeviceArray made(Place(py::cast<std::string>(state[0])), numbers.dtype(), shape);
                            made.fill(numbers);
                            return made;
                        }))
        .def("__array__",
             [](const DeviceArray& a, const py::args&, const py::kwargs&) -> py::array {
                 throw py::type_error("an array on " + name_of(a.place()) + " is not copied unasked: use .numpy()");
             })
        .def("__dlpack__", &DeviceArray::dlpack, py::kw_only(), py::arg("stream") = py::none(),
             py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
        .def("__dlpack_device__",
             [](const DeviceArray& a) { return py::make_tuple(int(dlpack::cuda), a.place().number); });
    register_functions(m);
}

}  // namespace fastbp::python
