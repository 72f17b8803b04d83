// fastbp_seam: the seam and the algorithm for the tests. Not installed.
#include <functional>

#include "operations.hpp"
#include "passes.hpp"

PYBIND11_MODULE(fastbp_seam, m) {
    using namespace fastbp::test;
    py::class_<Lists>(m, "Lists")
        .def(py::init<>())
        .def_readwrite("w", &Lists::w)
        .def_readwrite("b", &Lists::b)
        .def_readwrite("g", &Lists::g)
        .def_readwrite("s", &Lists::s)
        .def_readwrite("x", &Lists::x)
        .def_readwrite("delta", &Lists::delta)
        .def_readwrite("u", &Lists::u)
        .def_readwrite("sink_w", &Lists::sink_w)
        .def_readwrite("sink_b", &Lists::sink_b);
    bind_operations<float>(m, "Operations32");
    bind_operations<double>(m, "Operations64");
    bind_passes<float>(m, "32");
    bind_passes<double>(m, "64");
    m.def("isa", [] { return fastbp::cpu_facts().isa; });
}
