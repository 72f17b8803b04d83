// A backend that uses the process's memory and computes with a table of loops. The plain backend is this class; the CPU
// backend replaces gemm by BLAS.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "backend/loops/table.hpp"
#include "formulas/norms.hpp"
#include "formulas/step_numbers.hpp"
#include "seam/backend.hpp"
#include "seam/each_number.hpp"

namespace fastbp {

template <class Real>
class LoopBackend : public Backend<Real> {
  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::VectorIn;
    using typename Backend<Real>::VectorOut;
    using typename Backend<Real>::G;
    using Loss = LossFunction<Real>;

    LoopBackend(const LoopTable<Real>& loops, const char* name) : loops_(loops), name_(name) {}

    void* allocate(std::size_t bytes) noexcept override { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
    void release(void* memory) noexcept override { std::free(memory); }
    void upload(const void* from, void* to, std::size_t bytes) noexcept override { std::memcpy(to, from, bytes); }
    void download(const void* from, void* to, std::size_t bytes) noexcept override { std::memcpy(to, from, bytes); }
    void copy_bytes(const void* from, void* to, std::size_t bytes) noexcept override { std::memcpy(to, from, bytes); }
    const char* name() const noexcept override { return name_; }

    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override {
        fastbp::load_rows(source, rows, tile);
    }
    void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile) noexcept override {
        fastbp::load_csr(source, rows, tile);
    }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        fastbp::load_rows(source, rows, tile);
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        fastbp::load_rows(source, rows, Matrix<std::int32_t>{tile.data, tile.size, 1, 1, 1});
    }
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override {
        for (Index r = 0; r < m.rows; ++r)
            if (is_masked(c, r))
                for (Index j = 0; j < m.cols; ++j) m(r, j) = 0;
    }
    void clear_masked_csr(Matrix<const double> c, CsrTile<Real> tile) noexcept override {
        for (Index r = 0; r < c.rows; ++r)
            if (is_masked(c, r)) std::fill(tile.values + tile.starts[r], tile.values + tile.starts[r + 1], Real(0));
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        for (Index r = 0; r < m.rows; ++r)
            for (Index j = 0; j < m.cols; ++j)
                if (c(r, c.cols == 1 ? 0 : j) == 0) m(r, j) = 0;
    }

    void count_misfits(const RowSource& numbers, const NumberRule& rule, Index* misfits) noexcept override {
        *misfits = fastbp::count_misfits(numbers, rule);
    }
    void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) noexcept override {
        fastbp::sum_weights(c, rows, batch, sums);
    }

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        if (!c.empty()) loops_.gemm(alpha, a, b, beta, c);
    }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        if (!c.empty()) loops_.sparse_gemm(alpha, a, b, beta, c);
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        if (!c.empty()) loops_.sparse_gemm_transposed(alpha, a, b, beta, c);
    }
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        if (!x.empty()) loops_.activate(g, b, s, x);
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        if (!delta.empty()) loops_.multiply_by_derivative(g, s, x, delta);
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        if (!x.empty()) loops_.output_delta(loss, g, s, x, y, delta, slots);
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        if (!to.empty()) loops_.drop(dropout, from, to);
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        if (!x_dot.empty()) loops_.activate_tangent(g, s, x, s_dot, x_dot);
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        if (!delta_dot.empty()) loops_.derivative_tangent(g, s, x, s_dot, u, delta_dot);
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                              Curvature which) noexcept override {
        if (!delta_dot.empty()) loops_.output_delta_tangent(loss, g, s, x, y, s_dot, delta_dot, which);
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        if (!b.empty()) loops_.column_sums(alpha, delta, beta, b);
    }
    void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept override {
        if (!squares.empty()) loops_.gradient_squares(x, delta, accumulate, squares);
    }
    void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                       Vector<double> norm, Vector<double> factor) noexcept override {
        if (!squares.empty()) loops_.example_norms(squares, c, *scale, limit, norm, factor);
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        if (!m.empty()) loops_.scale_rows(factor, m);
    }
    void copy(In from, Out to) noexcept override {
        if (!to.empty()) loops_.copy(from, to);
    }
    void add(In from, Out to) noexcept override {
        if (!to.empty()) loops_.add(from, to);
    }
    void reduce(Partials<Real> partials, Real beta, VectorOut out) noexcept override {
        if (!out.empty()) loops_.reduce(partials, beta, out);
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        if (!grad.empty()) loops_.add_penalty(l2, l1, w, grad);
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        loops_.sum_of_squares(w, formulas::norm_unit(largest), out);
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override { loops_.sum_of_magnitudes(w, out); }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        *factor = formulas::clip_factor(*squares, formulas::norm_unit(largest), limit);
    }
    void largest_magnitude(In m, double* out) noexcept override {
        if (!m.empty()) loops_.largest_magnitude(m, out);
    }
    void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) noexcept override {
        loops_.largest_magnitudes(pass, out);
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override { loops_.find_larger(v, limit, place); }
    void clear(double* slot) noexcept override { *slot = 0; }
    void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                       StepScalars* now) noexcept override {
        if (*place >= 0) formulas::note_gradient(*place, double(gradient[*place]), *entry, *ledger, *now);
    }
    void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) noexcept override {
        formulas::note_loss(parts, *entry, *ledger, now);
    }
    void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                      Ledger* ledger) noexcept override {
        formulas::note_penalty(*squares, *magnitudes, l2, l1, ledger->entries[*entry]);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials<Real> gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        if (!params.empty() && now->step != 0) loops_.update(rule, *now, gradient, params, moments);
    }

  private:
    const LoopTable<Real>& loops_;
    const char* name_;
};

}  // namespace fastbp
