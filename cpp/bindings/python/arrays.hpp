// From Python's arrays to views: the one file where an argument's kind, form and place in memory are looked at. Whether
// its sizes and values fit a net is the core's to say.
#pragma once

#include <pybind11/numpy.h>

#include <span>
#include <string>

#include "device_array.hpp"
#include "fastbp/fastbp.hpp"

namespace fastbp::python {

namespace py = pybind11;

using Shape = std::span<const py::ssize_t>;

// A call that is refused, here or by the core; module.cpp makes it the Python exception of its status.
struct Refusal : std::runtime_error {
    Refusal(fastbp_status s, const std::string& text) : std::runtime_error(text), status(s) {}
    fastbp_status status;
};

// Runs the body of a method; what it refuses is told with the method's name in front: "[forward] X has 30 columns,
// ...".
template <class Body>
auto named(const char* method, Body body) {
    try {
        return body();
    } catch (const StatusError& error) {
        throw Refusal(error.status(), std::string("[") + method + "] " + error.what());
    } catch (const Refusal& error) {
        throw Refusal(error.status, std::string("[") + method + "] " + error.what());
    }
}

// Why NumPy, or fastbp at `place`, takes no view of an object, with the cure where it is known.
Refusal refusal(py::handle object, const std::string& who, const py::error_already_set& error, const char* expected,
                const Place& place);

// Asks the object's library for a view; its complaints are told with our name.
template <class Call>
auto told_with_name(py::handle object, const std::string& who, const char* expected, const Place& place, Call call) {
    try {
        return call();
    } catch (py::error_already_set& error) {
        for (PyObject* known : {PyExc_ValueError, PyExc_TypeError, PyExc_RuntimeError, PyExc_BufferError})
            if (error.matches(known)) throw refusal(object, who, error, expected, place);
        throw;
    }
}

// A plain NumPy array passes. NumPy makes one of everything else, without a copy if the object's library shares its
// memory: by __array__ or the buffer protocol, or by DLPack if it has neither. Frames of several types and arrays of
// objects are converted if they hold numbers only (python/fastbp/_frames.py); other objects come back as objects.
py::array as_array(py::handle object, const char* name);

// An argument that is read: any array-like of real, integer or bool numbers, or an array on the device where the net
// lies; whatever is made of it is kept alive.
class Input {
  public:
    Input() = default;
    // None, where `optional`, is an array without data. Refuses data that are not real numbers.
    Input(py::handle object, const char* name, const Place& place, bool optional = false);
    // The same, or a sparse matrix of SciPy's, as compressed rows.
    static Input rows(py::handle object, const char* name, const Place& place);

    const fastbp_array& view() const { return view_; }
    // How many numbers lie one after the other, where they are compressed rows.
    std::int64_t kept() const { return kept_; }
    bool given() const { return array_.ptr() != nullptr; }

  private:
    void take_compressed(py::handle object, const char* name);

    py::object array_;  // or what is kept alive: values, columns and starts
    fastbp_array view_ = {};
    std::int64_t kept_ = 0;
};

// Memory that an output must not share.
struct Extent {
    const char* name;
    const char *begin, *end;
};
Extent extent_of(const Input& input, const char* name);
// Of a NumPy array or a DeviceArray.
Extent extent_of(py::handle array, const char* name);

// An argument that is written: where the net lies, exactly this dtype and shape, row-major without gaps, writable,
// apart from the inputs. Refused with an error that says what came, never filled in a copy.
class Output {
  public:
    // A new array.
    Output(const Place& place, const py::dtype& dtype, Shape shape);
    // The caller's: an array of NumPy's or fastbp's, or what gives its memory by DLPack.
    Output(py::handle object, const char* name, const Place& place, const py::dtype& dtype, Shape shape,
           const std::vector<Extent>& inputs);

    void* data() const { return data_; }
    // A NumPy array, or a DeviceArray.
    const py::object& array() const { return array_; }
    // What the caller gets back: the very object that was given, or the new array.
    const py::object& given() const { return given_; }

  private:
    void take_distant(py::handle object, const char* name, const Place& place, const py::dtype& dtype, Shape shape,
                      const std::vector<Extent>& inputs);

    py::object array_, given_;
    void* data_ = nullptr;
};

}  // namespace fastbp::python
