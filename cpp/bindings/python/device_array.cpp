#include "device_array.hpp"

#include <pybind11/stl.h>

#include <numeric>

#include "addresses.hpp"
#include "arrays.hpp"
#include "dlpack.hpp"
#include "gil.hpp"

namespace fastbp::python {
namespace {

py::object numpy_function(const char* name) { return py::module_::import("numpy").attr(name); }

// Waits without the GIL.
template <class Call>
void call(Call body) {
    fastbp_status status;
    {
        const ReleasedGil released;
        status = body();
    }
    require(status);
}

dlpack::Type dlpack_type(const py::dtype& dtype) {
    const auto bits = std::uint8_t(8 * dtype.itemsize());
    switch (dtype.kind()) {
        case 'b': return {dlpack::boolean, bits, 1};
        case 'i': return {dlpack::signed_integer, bits, 1};
        case 'u': return {dlpack::unsigned_integer, bits, 1};
        default: return {dlpack::floating_point, bits, 1};
    }
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

DeviceArray::DeviceArray(const Place& place, py::dtype dtype, Shape shape, void* data, py::object owner)
    : place_(place), dtype_(std::move(dtype)), shape_(std::move(shape)), data_(static_cast<char*>(data)) {
    if (!owner) return;
    memory_.reset(new py::object(std::move(owner)), [](void* given) {  // wherever the last to hold it lets go
        if (Py_IsInitialized() == 0) return;
        const HeldGil gil;
        delete static_cast<py::object*>(given);
    });
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
    const DeviceArray made(place_, dtype_, shape_);
    made.take(*this);
    return made;
}

void DeviceArray::load(const fastbp_array& from) const {
    const int type = dtype_.itemsize() == 4 ? FASTBP_FLOAT32 : FASTBP_FLOAT64;
    call([&] { return fastbp_load(place_.device.c_str(), &from, type, data_); });
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
        throw py::buffer_error("the array lies on " + place_.full_name() + " and is not copied to another device");
    if (!copy.is_none() && py::cast<bool>(copy)) return this->copy().dlpack(stream, max_version, dl_device, py::none());
    const bool waits = stream.is_none() || !stream.equal(py::int_(-1));
    if (waits && !(stream.is_none() ? py::int_(1) : stream).equal(stream_number()))
        call([&] { return fastbp_synchronize(place_.device.c_str()); });
    const bool versioned = !max_version.is_none() && py::cast<int>(py::tuple(max_version)[0]) >= 1;
    return versioned ? exported<dlpack::VersionedManaged>() : exported<dlpack::Managed>();
}

std::string DeviceArray::text() const {
    return "DeviceArray(shape=" + py::cast<std::string>(py::str(py::tuple(py::cast(shape_)))) +
           ", dtype=" + py::cast<std::string>(py::str(dtype_)) + ", device='" + place_.full_name() + "')";
}

py::object stream_number() {
    void* stream = fastbp_get_stream();
    return stream == nullptr ? py::int_(1) : py::int_(reinterpret_cast<std::uintptr_t>(stream));
}

void* memory_of(py::handle array) {
    // NumPy's are known by a look at the type; for one of pybind11's own Python is asked, which takes far longer.
    if (py::isinstance<py::array>(array)) return const_cast<void*>(py::reinterpret_borrow<py::array>(array).data());
    return py::cast<const DeviceArray&>(array).data();
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
        .def_property_readonly("device", [](const DeviceArray& a) { return a.place().full_name(); })
        .def("numpy", &DeviceArray::numpy, "A new NumPy array with its numbers.")
        .def("copy", &DeviceArray::copy, "The same numbers in memory of their own on the same device.")
        .def("__copy__", &DeviceArray::copy)
        .def(
            "__deepcopy__", [](const DeviceArray& a, const py::dict&) { return a.copy(); }, py::arg("memo"))
        .def("part", &DeviceArray::part, py::arg("first"), py::arg("shape"),
             "Numbers from `first` on, in this shape, in the same memory.")
        .def("__getitem__", &DeviceArray::item)
        .def("__setitem__", [](const DeviceArray& a, const py::object& key,
                               const py::object& value) { py::cast<const DeviceArray&>(a.item(key)).fill(value); })
        .def("__len__",
             [](const DeviceArray& a) {
                 if (a.shape().empty()) throw py::type_error("an array without dimensions has no length");
                 return a.shape()[0];
             })
        .def("__repr__", &DeviceArray::text)
        .def(py::pickle([](const DeviceArray& a) { return py::make_tuple(a.place().full_name(), a.numpy()); },
                        [](const py::tuple& state) {
                            const auto numbers = py::cast<py::array>(state[1]);
                            const DeviceArray::Shape shape(numbers.shape(), numbers.shape() + numbers.ndim());
                            const DeviceArray made(Place(py::cast<std::string>(state[0])), numbers.dtype(), shape);
                            made.fill(numbers);
                            return made;
                        }))
        .def("__array__",
             [](const DeviceArray& a, const py::args&, const py::kwargs&) -> py::array {
                 throw py::type_error("an array on " + a.place().full_name() + " is not copied unasked: use .numpy()");
             })
        .def("__dlpack__", &DeviceArray::dlpack, py::kw_only(), py::arg("stream") = py::none(),
             py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(), py::arg("copy") = py::none())
        .def("__dlpack_device__",
             [](const DeviceArray& a) { return py::make_tuple(int(dlpack::cuda), a.place().number); });
    register_functions(m);
}

}  // namespace fastbp::python
