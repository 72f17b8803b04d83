// The module fastbp._core: table of contents, and the translation of errors.
#include <dlfcn.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <tuple>
#include <utility>

#include "addresses.hpp"
#include "arrays.hpp"
#include "borrowed.hpp"
#include "fastbp/fastbp.hpp"
#include "gil.hpp"
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

using Pair = std::pair<double, double>;

fastbp_step_rule make_rule(int kind, bool nesterov, bool centered, double momentum, double dampening,
                           double weight_decay, Pair betas, double eps, double alpha, double lr_decay, Pair etas,
                           Pair step_sizes) {
    fastbp_step_rule rule = {};
    rule.size = sizeof rule;
    rule.kind = kind;
    rule.nesterov = nesterov;
    rule.centered = centered;
    rule.momentum = momentum;
    rule.dampening = dampening;
    rule.weight_decay = weight_decay;
    std::tie(rule.beta1, rule.beta2) = betas;
    rule.eps = eps;
    rule.alpha = alpha;
    rule.lr_decay = lr_decay;
    std::tie(rule.eta_minus, rule.eta_plus) = etas;
    std::tie(rule.step_size_min, rule.step_size_max) = step_sizes;
    return rule;
}

// One optimiser step on an array of the given dtype and shape on the device: `params` is written in place, `grad` (the
// same) is read.
void update(const fastbp_step_rule& rule, const std::string& device, const py::dtype& dtype,
            const std::vector<py::ssize_t>& shape, py::handle params, py::handle grad,
            const std::vector<py::object>& moments, double lr, std::int64_t step) {
    named("update", [&] {
        const Output p(params, "params", Place(device), dtype, shape, {extent_of(grad, "grad")});
        std::vector<void*> pointers;
        for (const py::object& moment : moments) pointers.push_back(memory_of(moment));
        const int type = dtype.itemsize() == 4 ? FASTBP_FLOAT32 : FASTBP_FLOAT64;
        std::int64_t count = 1;
        for (const py::ssize_t size : shape) count *= size;
        const fastbp_status status = [&, data = p.data(), g = memory_of(grad)] {
            const ReleasedGil released;
            return fastbp_update(&rule, device.c_str(), type, count, data, g, pointers.data(), lr, step);
        }();
        require(status);
    });
}

// An array over the memory of an output of this dtype and shape, which is apart from the inputs.
py::object as_output(const char* method, const char* name, py::handle object, const std::string& device,
                     const py::dtype& dtype, const std::vector<py::ssize_t>& shape,
                     const std::map<std::string, py::object>& apart_from) {
    return named(method, [&] {
        std::vector<Input> inputs;
        std::vector<Extent> extents;
        for (const auto& [other, given] : apart_from) {
            inputs.push_back(Input::rows(given, other.c_str(), Place(device)));
            extents.push_back(extent_of(inputs.back(), other.c_str()));
        }
        return Output(object, name, Place(device), dtype, shape, extents).array();
    });
}

// The loader may have bound this module to another libfastbp.so: one that the process had loaded, or preloaded.
void require_own_library() {
    const std::string found = fastbp_build_id();
    if (found == FASTBP_BUILD_ID) return;
    Dl_info info = {};
    const bool known = dladdr(reinterpret_cast<void*>(&fastbp_build_id), &info) != 0 && info.dli_fname != nullptr;
    throw py::import_error("[import] fastbp is bound to another libfastbp.so, " +
                           std::string(known ? info.dli_fname : "of unknown place") + ", build '" + found +
                           "', expected build '" FASTBP_BUILD_ID
                           "'. Import fastbp before whatever loads that file, or "
                           "remove the file from LD_PRELOAD and LD_LIBRARY_PATH");
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

// Multi-phase initialisation gives the module the name that it is imported by, which is _core.
PYBIND11_MODULE(_core_of_main_interpreter, m, pybind11::mod_gil_not_used()) {
    using namespace fastbp::python;
    require_own_library();
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
        .def(py::init(&make_rule), py::kw_only(), py::arg("kind"), py::arg("nesterov") = false,
             py::arg("centered") = false, py::arg("momentum") = 0.0, py::arg("dampening") = 0.0,
             py::arg("weight_decay") = 0.0, py::arg("betas") = Pair(), py::arg("eps") = 0.0, py::arg("alpha") = 0.0,
             py::arg("lr_decay") = 0.0, py::arg("etas") = Pair(), py::arg("step_sizes") = Pair())
        .def_property_readonly("moment_count", [](const fastbp_step_rule& rule) { return fastbp_moment_count(&rule); });
    register_device_array(m);
    register_borrowed(m);
    register_net(m);
    m.def("update", &update, py::arg("rule"), py::arg("device"), py::arg("dtype"), py::arg("shape"), py::arg("params"),
          py::arg("grad"), py::arg("moments"), py::arg("lr"), py::arg("step"));
    m.def(
        "as_array",
        [](const char* method, const char* name, py::handle object) {
            return named(method, [&] { return as_array(object, name); });
        },
        py::arg("method"), py::arg("name"), py::arg("object"));
    m.def("as_output", &as_output, py::arg("method"), py::arg("name"), py::arg("object"), py::arg("device"),
          py::arg("dtype"), py::arg("shape"), py::arg("apart_from"));
    m.def("addresses", &addresses, py::arg("tensors"), py::arg("shapes"), py::arg("dtype"), py::arg("gpu") = -1);
    m.def("config", &config);
    m.def("get_num_threads", &fastbp_get_num_threads);
    m.def("jobs_taken", [] {
        std::vector<std::int64_t> counts(std::size_t(fastbp_jobs_taken(nullptr, 0)));
        fastbp_jobs_taken(counts.data(), std::int32_t(counts.size()));
        return counts;
    });
    m.def("set_num_threads", [](std::int32_t n) { fastbp::require(fastbp_set_num_threads(n)); }, py::arg("n"));
    m.def("get_thread_limit", &fastbp_get_thread_limit);
    m.def("set_thread_limit", [](std::int32_t n) { fastbp::require(fastbp_set_thread_limit(n)); }, py::arg("n"));
    m.def(
        "offer_blas",
        [](const std::string& name, std::uintptr_t sgemm, std::uintptr_t dgemm) {
            fastbp::require(
                fastbp_offer_blas(name.c_str(), reinterpret_cast<void*>(sgemm), reinterpret_cast<void*>(dgemm)));
        },
        py::arg("name"), py::arg("sgemm"), py::arg("dgemm"));
}

// pybind11's own function waits forever for the GIL in a subinterpreter that shares it (CPython before 3.12).
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) return PyInit__core_of_main_interpreter();
    PyErr_SetString(PyExc_ImportError,
                    "[import] fastbp is imported in a subinterpreter, expected the main interpreter of the process; "
                    "run the program in a process of its own (with mod_wsgi: WSGIApplicationGroup %{GLOBAL})");
    return nullptr;
}
