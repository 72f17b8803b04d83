// Every operation of the seam as a method of a Python class, for each backend and type.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>

#include "backend/make_backend.hpp"
#include "bind.hpp"

namespace fastbp::test {

template <class Real>
struct BoundOperations {
    std::unique_ptr<Backend<Real>> on;

    explicit BoundOperations(const std::string& device) : on(make_backend<Real>(device)) {}

    template <class Operation>
    void run(Operation operation) {
        run_call(*on, operation);
    }

    void gemm(Real alpha, const py::array& a, const py::array& b, Real beta, const py::array& c) {
        run([&] { on->gemm(alpha, matrix<const Real>(a), matrix<const Real>(b), beta, matrix<Real>(c)); });
    }
    void sparse_gemm(Real alpha, const Indices& starts, const Indices& columns, const py::array& values, Index cols,
                     bool transposed, const py::array& b, Real beta, const py::array& c) {
        const Csr<Real> a = CsrArgument{starts, columns, values}.view<Real>(cols);
        if (transposed)
            run([&] { on->sparse_gemm_transposed(alpha, a, matrix<const Real>(b), beta, matrix<Real>(c)); });
        else
            run([&] { on->sparse_gemm(alpha, a, matrix<const Real>(b), beta, matrix<Real>(c)); });
    }
    void activate(const G& g, const Optional& b, const py::array& s, const py::array& x) {
        run([&] { on->activate(activation<Real>(g), vector<const Real>(b), matrix<Real>(s), matrix<Real>(x)); });
    }
    void multiply_by_derivative(const G& g, const Optional& s, const py::array& x, const py::array& delta) {
        run([&] {
            on->multiply_by_derivative(activation<Real>(g), matrix<const Real>(s), matrix<const Real>(x),
                                       matrix<Real>(delta));
        });
    }
    double output_delta(int loss, const Optional& parameter, const G& g, const Optional& s, const py::array& x,
                        const Optional& values, const Optional& classes, const Optional& c, double scale,
                        const Optional& delta, const Optional& example) {
        const TargetArgument<Real> target(loss, parameter, values, classes, c, scale);
        double sum = 0;
        run([&] {
            on->output_delta(target.loss, activation<Real>(g), matrix<const Real>(s), matrix<const Real>(x), target.y,
                             matrix<Real>(delta), {&sum, vector<double>(example)});
        });
        return sum;
    }
    void drop(double keep, std::uint64_t seed, Index step, std::uint32_t layer, const Indices& rows, Index first_unit,
              const py::array& from, const py::array& to) {
        const Dropout dropout{keep, seed, &step, layer, {rows.data(), 0, rows.size()}, first_unit};
        run([&] { on->drop(dropout, matrix<const Real>(from), matrix<Real>(to)); });
    }
    void activate_tangent(const G& g, const Optional& s, const py::array& x, const py::array& s_dot,
                          const py::array& x_dot) {
        run([&] {
            on->activate_tangent(activation<Real>(g), matrix<const Real>(s), matrix<const Real>(x),
                                 matrix<const Real>(s_dot), matrix<Real>(x_dot));
        });
    }
    void derivative_tangent(const G& g, const Optional& s, const py::array& x, const py::array& s_dot,
                            const py::array& u, const py::array& delta_dot) {
        run([&] {
            on->derivative_tangent(activation<Real>(g), matrix<const Real>(s), matrix<const Real>(x),
                                   matrix<const Real>(s_dot), matrix<const Real>(u), matrix<Real>(delta_dot));
        });
    }
    void output_delta_tangent(int loss, const Optional& parameter, const G& g, const Optional& s, const py::array& x,
                              const Optional& values, const Optional& classes, const Optional& c, double scale,
                              const py::array& s_dot, const py::array& delta_dot, bool gauss_newton) {
        const TargetArgument<Real> target(loss, parameter, values, classes, c, scale);
        run([&] {
            on->output_delta_tangent(target.loss, activation<Real>(g), matrix<const Real>(s), matrix<const Real>(x),
                                     target.y, matrix<const Real>(s_dot), matrix<Real>(delta_dot),
                                     gauss_newton ? Curvature::gauss_newton : Curvature::hessian);
        });
    }
    void column_sums(Real alpha, const py::array& delta, Real beta, const py::array& b) {
        run([&] { on->column_sums(alpha, matrix<const Real>(delta), beta, vector<Real>(b)); });
    }
    void gradient_squares(const py::array& x, const py::array& delta, bool accumulate, const py::array& squares) {
        run([&] {
            on->gradient_squares({matrix<const Real>(x)}, matrix<const Real>(delta), accumulate,
                                 vector<double>(squares));
        });
    }
    void example_norms(const py::array& squares, const Optional& c, double scale, double limit, const Optional& norm,
                       const Optional& factor) {
        run([&] {
            on->example_norms(vector<const double>(squares), vector<const double>(c), &scale, limit,
                              vector<double>(norm), vector<double>(factor));
        });
    }
    void scale_rows(const py::array& factor, const py::array& m) {
        run([&] { on->scale_rows(vector<const double>(factor), matrix<Real>(m)); });
    }
    void clear_masked_rows(const py::array& c, const py::array& m) {
        run([&] { on->clear_masked_rows(matrix<const double>(c), matrix<Real>(m)); });
    }
    void clear_masked_csr(const py::array& c, Indices starts, Indices columns, const py::array& values) {
        run([&] {
            on->clear_masked_csr(matrix<const double>(c),
                                 {starts.mutable_data(), columns.mutable_data(), vector<Real>(values).data});
        });
    }
    void clear_masked_outputs(const py::array& c, const py::array& m) {
        run([&] { on->clear_masked_outputs(matrix<const double>(c), matrix<Real>(m)); });
    }
    void copy(const py::array& from, const py::array& to) {
        run([&] { on->copy(matrix<const Real>(from), matrix<Real>(to)); });
    }
    void add(const py::array& from, const py::array& to) {
        run([&] { on->add(matrix<const Real>(from), matrix<Real>(to)); });
    }
    void reduce(const std::vector<py::array>& partials, Real beta, const py::array& out) {
        const auto views = list(partials);
        run([&] { on->reduce(views, beta, vector<Real>(out)); });
    }
    void add_penalty(double l2, double l1, const py::array& w, const py::array& grad) {
        run([&] { on->add_penalty(l2, l1, vector<const Real>(w), vector<Real>(grad)); });
    }
    std::pair<double, double> sums(const py::array& w) {
        double squares = 0, magnitudes = 0;
        run([&] {
            on->sum_of_squares(vector<const Real>(w), nullptr, &squares);
            on->sum_of_magnitudes(vector<const Real>(w), &magnitudes);
        });
        return {squares, magnitudes};
    }
    // The factor that clips v to the norm 1.
    double clip_to_1(const py::array& v) {
        double largest = 0, squares = 0, factor = 0;
        run([&] {
            on->largest_magnitude(row_of(v), &largest);
            on->sum_of_squares(vector<const Real>(v), &largest, &squares);
            on->clip_factor(&squares, &largest, 1.0, &factor);
        });
        return factor;
    }
    double largest_magnitude(const py::array& m, double least) {
        run([&] { on->largest_magnitude(matrix<const Real>(m), &least); });
        return least;
    }
    Index find_larger(const py::array& v, double limit) {
        Index place = -2;
        run([&] { on->find_larger(vector<const Real>(v), limit, &place); });
        return place;
    }
    // Bounds for a pass with the input x and two layers of these values.
    std::pair<double, double> largest_magnitudes(const py::array& x, const py::array& hidden, const py::array& delta) {
        const LayerValues<Real> layers[] = {{{}, matrix<Real>(hidden), matrix<Real>(delta), {}},
                                            {{}, matrix<Real>(hidden), matrix<Real>(delta), {}}};
        Magnitudes found;
        run([&] { on->largest_magnitudes({{matrix<const Real>(x)}, layers}, &found); });
        return {found.x, found.delta};
    }
    // refused_entry, refused_place, refused_number and now.step after a loss and this gradient.
    std::tuple<Index, Index, double, Index> note_gradient(const py::array& v, Index place) {
        double loss = 1;
        LossEntry entries[2];
        Ledger ledger{entries};
        StepScalars now;
        const Index entry = 1;
        run([&] {
            on->note_loss({&loss, 1}, &entry, &ledger, &now);
            on->note_gradient(vector<const Real>(v), &place, &entry, &ledger, &now);
        });
        return {ledger.refused_entry, ledger.refused_place, ledger.refused_number, now.step};
    }
    void load_rows(const py::array& source, const std::optional<Indices>& order, const py::array& tile) {
        static const std::string kinds[] = {"f4", "f8", "f2", "f16", "b1", "i1", "i2",
                                            "i4", "i8", "u1", "u2",  "u4", "u8"};
        const std::string kind = std::string(1, source.dtype().kind()) + std::to_string(source.itemsize());
        const auto type = NumberType(std::find(std::begin(kinds), std::end(kinds), kind) - std::begin(kinds));
        const RowSource from{static_cast<const std::byte*>(source.data()),
                             type,
                             source.dtype().byteorder() == '>',
                             source.shape(0),
                             source.shape(1),
                             source.strides(0),
                             source.strides(1)};
        run([&] { on->load_rows(from, {order ? order->data() : nullptr, 0, tile.shape(0)}, matrix<Real>(tile)); });
    }

    static Matrix<const Real> row_of(const py::array& v) {
        const Vector<const Real> all = vector<const Real>(v);
        return {all.data, 1, all.size, all.size, 1};
    }
    static std::vector<Vector<const Real>> list(const std::vector<py::array>& arrays) {
        std::vector<Vector<const Real>> views;
        for (const py::array& array : arrays) views.push_back(vector<const Real>(array));
        return views;
    }
};

template <class Real>
void bind_operations(py::module_& m, const char* name) {
    using O = BoundOperations<Real>;
    py::class_<O>(m, name)
        .def(py::init<const std::string&>())
        .def("gemm", &O::gemm)
        .def("sparse_gemm", &O::sparse_gemm)
        .def("activate", &O::activate)
        .def("multiply_by_derivative", &O::multiply_by_derivative)
        .def("output_delta", &O::output_delta)
        .def("drop", &O::drop)
        .def("activate_tangent", &O::activate_tangent)
        .def("derivative_tangent", &O::derivative_tangent)
        .def("output_delta_tangent", &O::output_delta_tangent)
        .def("column_sums", &O::column_sums)
        .def("gradient_squares", &O::gradient_squares)
        .def("example_norms", &O::example_norms)
        .def("scale_rows", &O::scale_rows)
        .def("clear_masked_rows", &O::clear_masked_rows)
        .def("clear_masked_csr", &O::clear_masked_csr)
        .def("clear_masked_outputs", &O::clear_masked_outputs)
        .def("copy", &O::copy)
        .def("add", &O::add)
        .def("reduce", &O::reduce)
        .def("add_penalty", &O::add_penalty)
        .def("sums", &O::sums)
        .def("clip_to_1", &O::clip_to_1)
        .def("largest_magnitude", &O::largest_magnitude)
        .def("largest_magnitudes", &O::largest_magnitudes)
        .def("find_larger", &O::find_larger)
        .def("note_gradient", &O::note_gradient)
        .def("load_rows", &O::load_rows);
}

}  // namespace fastbp::test
