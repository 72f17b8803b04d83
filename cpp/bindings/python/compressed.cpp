// SciPy's sparse matrices as compressed rows. Their arrays are the caller's to write, in other threads and in callbacks
// too, so the places of the numbers are copied: what is checked once holds for the whole call.
#include <pybind11/stl.h>

#include "arrays.hpp"

namespace fastbp::python {
namespace {

using Places = py::array_t<std::int64_t, py::array::c_style>;

struct Parts {
    py::array values;
    Places columns, starts;
    std::vector<std::int64_t> shape;
};

[[noreturn]] void refuse(const char* name, const std::string& what) {
    throw Refusal(FASTBP_VALUE_ERROR, std::string(name) + " is a sparse matrix " + what);
}

Places places_of(py::handle array, const char* name, const char* what) {
    const py::module_ numpy = py::module_::import("numpy");
    const auto given = py::reinterpret_borrow<py::array>(numpy.attr("asarray")(array));
    if (given.dtype().kind() != 'i' && given.dtype().kind() != 'u')
        refuse(name, std::string("whose ") + what + " are not integers");
    return py::reinterpret_steal<Places>(
        numpy.attr("array")(given, py::arg("dtype") = "int64", py::arg("order") = "C").release());
}

Parts parts_of(py::handle matrix, const char* name) {
    Parts parts{py::module_::import("numpy").attr("ascontiguousarray")(matrix.attr("data")),
                places_of(matrix.attr("indices"), name, "indices"), places_of(matrix.attr("indptr"), name, "indptr"),
                py::cast<std::vector<std::int64_t>>(matrix.attr("shape"))};
    if (parts.shape.size() != 2) refuse(name, "that has not 2 dimensions");
    if (parts.values.ndim() != 1 || parts.columns.ndim() != 1 || parts.starts.ndim() != 1 ||
        parts.starts.size() != parts.shape[0] + 1 || parts.columns.size() != parts.values.size() ||
        parts.starts.at(parts.shape[0]) > parts.columns.size())
        refuse(name, "whose indptr, indices and data do not fit each other");
    return parts;
}

// Whether a column stands twice in a row, or before a smaller one. Of places that do not fit the core says so.
bool needs_order(const Parts& parts) {
    const std::int64_t *starts = parts.starts.data(), *columns = parts.columns.data();
    const std::int64_t kept = parts.columns.size();
    bool rising = true;
    for (std::int64_t i = 0; i < parts.shape[0]; ++i) {
        if (starts[i] < 0 || starts[i + 1] < starts[i] || starts[i + 1] > kept) return false;
        for (std::int64_t k = starts[i]; k < starts[i + 1]; ++k) {
            if (columns[k] < 0 || columns[k] >= parts.shape[1]) return false;
            rising = rising && (k == starts[i] || columns[k - 1] < columns[k]);
        }
    }
    return !rising;
}

}  // namespace

void Input::take_compressed(py::handle object, const char* name) {
    Parts parts;
    try {
        const py::object format = py::getattr(object, "format", py::none());
        const bool compressed = format.equal(py::str("csc")) || format.equal(py::str("bsr"));
        if (compressed) object.attr("check_format")(true);  // SciPy's conversion trusts it
        parts = parts_of(object.attr("tocsr")(), name);
        if (needs_order(parts)) {
            const py::object csr = py::module_::import("scipy.sparse").attr("csr_array");
            const py::object ordered = csr(py::make_tuple(parts.values, parts.columns, parts.starts),
                                           py::arg("shape") = py::cast(parts.shape), py::arg("copy") = true);
            ordered.attr("sum_duplicates")();
            parts = parts_of(ordered, name);
        }
    } catch (const py::error_already_set& error) {
        refuse(name, "that cannot be read: " + std::string(py::str(error.value())));
    }
    const Input values(parts.values, name, Place());
    view_ = values.view();
    view_.dimensions = 2;
    view_.rows = parts.shape[0];
    view_.cols = parts.shape[1];
    view_.col_stride = view_.row_stride;
    view_.index_type = FASTBP_INT64;
    view_.columns = parts.columns.data();
    view_.starts = parts.starts.data();
    kept_ = parts.columns.size();
    array_ = py::make_tuple(values.array_, parts.columns, parts.starts);
}

}  // namespace fastbp::python
