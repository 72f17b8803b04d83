// The module fastbp._core: table of contents, and the translation of errors.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "fastbp/fastbp.hpp"
#include "net.hpp"

namespace fastbp::python {
namespace {

PyObject* exception_for(fastbp_status status) {
    switch (status) {
        case FASTBP_VALUE_ERROR: return PyExc_ValueError;
        case FASTBP_TYPE_ERROR: return PyExc_TypeError;
        case FASTBP_FLOATING_POINT_ERROR: return PyExc_FloatingPointError;
        case FASTBP_MEMORY_ERROR: return PyExc_MemoryError;
        case FASTBP_OK:
        case FASTBP_INTERRUPTED:
        case FASTBP_RUNTIME_ERROR: break;
    }
    return PyExc_RuntimeError;
}

fastbp_step_rule make_rule(int kind, bool nesterov, double momentum, double dampening, double weight_decay,
                           double beta1, double beta2, double eps) {
    return {sizeof(fastbp_step_rule), kind, nesterov, momentum, dampening, weight_decay, beta1, beta2, eps};
}

// One optimiser step on an array of the given dtype and shape: `params` is written in place, `grad` (the same) is read.
void update(const fastbp_step_rule& rule, const py::dtype& dtype, const std::vector<py::ssize_t>& shape,
            py::handle params, const py::array& grad, std::vector<py::array> moments, double lr, std::int64_t step) {
    named("update", [&] {
        py::array p = output(params, "params", dtype, shape, {extent_of(grad, "grad")});
        std::vector<void*> pointers;
        for (py::array& moment : moments) pointers.push_back(moment.mutable_data());
        const int type = dtype.itemsize() == 4 ? FASTBP_FLOAT32 : FASTBP_FLOAT64;
        const fastbp_status status = [&, data = p.mutable_data(), count = p.size(), g = grad.data()] {
            const py::gil_scoped_release released;
            return fastbp_update(&rule, type, count, data, g, pointers.data(), lr, step);
        }();
        require(status);
    });
}

py::dict config() {
    fastbp_config facts = {};
    facts.size = sizeof facts;
    require(fastbp_get_config(&facts));
    py::dict result;
    result["isa"] = facts.isa;
    result["blas"] = facts.blas;
    result["blas_library"] = facts.blas_library;
    result["blas_core"] = facts.blas_core;
    return result;
}

}  // namespace
}  // namespace fastbp::python

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    using namespace fastbp::python;
    m.doc() = "fastbp's compiled core. Private: the package around it is the interface.";
    m.attr("__version__") = fastbp_version();
    m.attr("build_id") = fastbp_build_id();
    py::register_local_exception_translator([](std::exception_ptr raised) {
        try {
            if (raised) std::rethrow_exception(raised);
        } catch (const Refusal& error) {
            py::set_error(exception_for(error.status), error.what());
        } catch (const fastbp::StatusError& error) {
            py::set_error(exception_for(error.status()), error.what());
        }
    });
    py::class_<fastbp_step_rule>(m, "StepRule", "An optimiser's numbers.")
        .def(py::init(&make_rule), py::arg("kind"), py::arg("nesterov"), py::arg("momentum"), py::arg("dampening"),
             py::arg("weight_decay"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"))
        .def_property_readonly("moment_count", [](const fastbp_step_rule& rule) { return fastbp_moment_count(&rule); });
    register_net(m);
    m.def("update", &update, py::arg("rule"), py::arg("dtype"), py::arg("shape"), py::arg("params"), py::arg("grad"),
          py::arg("moments"), py::arg("lr"), py::arg("step"));
    m.def("config", &config);
    m.def(
        "offer_blas",
        [](const std::string& name, std::uintptr_t sgemm, std::uintptr_t dgemm) {
            fastbp::require(
                fastbp_offer_blas(name.c_str(), reinterpret_cast<void*>(sgemm), reinterpret_cast<void*>(dgemm)));
        },
        py::arg("name"), py::arg("sgemm"), py::arg("dgemm"));
}
