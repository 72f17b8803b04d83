// NumPy arrays as views, without copies and without checks: the tests pass what they mean to pass.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "seam/backend.hpp"

namespace py = pybind11;

namespace fastbp::test {

template <class T>
Matrix<T> matrix(const py::array& array) {
    if (array.ndim() != 2 || array.itemsize() != py::ssize_t(sizeof(T)))
        throw py::value_error("not a matrix of this type");
    const Index size = sizeof(T);
    return {static_cast<T*>(const_cast<void*>(array.data())), array.shape(0), array.shape(1), array.strides(0) / size,
            array.strides(1) / size};
}

template <class T>
Vector<T> vector(const py::array& array) {
    if (array.ndim() != 1 || array.itemsize() != py::ssize_t(sizeof(T)) || array.strides(0) != py::ssize_t(sizeof(T)))
        throw py::value_error("not a vector of this type");
    return {static_cast<T*>(const_cast<void*>(array.data())), array.shape(0)};
}

// Operations as one call: what they bring is there when it returns, and what went wrong on a device is thrown.
template <class Real, class Operations>
void run_call(Backend<Real>& on, Operations operations) {
    struct Call {
        Backend<Real>& on;
        explicit Call(Backend<Real>& backend) : on(backend) { on.begin_call(nullptr); }
        ~Call() { on.end_call(); }
    } const call(on);
    operations();
    on.synchronize();
    if (const char* failure = on.failure()) throw std::runtime_error(failure);
}

using Optional = std::optional<py::array>;

template <class T>
Matrix<T> matrix(const Optional& array) {
    return array ? matrix<T>(*array) : Matrix<T>{};
}
template <class T>
Vector<T> vector(const Optional& array) {
    return array ? vector<T>(*array) : Vector<T>{};
}

using G = std::pair<int, double>;  // activation and its parameter

template <class Real>
ActivationFunction<Real> activation(const G& g) {
    return {Activation(g.first), Real(g.second)};
}

// Loss and target of one call, alive as long as it runs.
template <class Real>
struct TargetArgument {
    LossFunction<Real> loss;
    Target<Real> y;
    double scale;

    TargetArgument(int kind, const Optional& parameter, const Optional& values, const Optional& classes,
                   const Optional& c, double s)
        : loss{Loss(kind), vector<const Real>(parameter)},
          y{matrix<const Real>(values), vector<const std::int32_t>(classes), matrix<const double>(c), &scale},
          scale(s) {}
    TargetArgument(const TargetArgument&) = delete;
};

using Indices = py::array_t<Index, py::array::c_style | py::array::forcecast>;

struct CsrArgument {
    Indices starts, columns;
    py::array values;

    template <class Real>
    Csr<Real> view(Index cols) const {
        return {starts.data(), columns.data(), static_cast<const Real*>(values.data()), starts.size() - 1, cols};
    }
};

}  // namespace fastbp::test
