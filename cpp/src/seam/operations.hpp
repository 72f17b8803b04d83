// The closed set of operations in which the algorithm is written. Each line says what the operation does to its output.
// NOTATION.md lists which equation it serves.
//
// Contract of every operation (try_fused_pass apart): it throws nothing, allocates nothing and returns nothing. Results
// go to views or slots in the backend's own memory. It works on any block of its output and skips an empty view. Views
// must not overlap unless the line says so. Threads, streams and recorded graphs rely on this.
#pragma once

#include <cstdlib>
#include <span>

#include "seam/network.hpp"

namespace fastbp {

template <class Real>
class Operations {
  public:
    using In = Matrix<const Real>;
    using Out = Matrix<Real>;
    using VectorIn = Vector<const Real>;
    using VectorOut = Vector<Real>;
    using G = ActivationFunction<Real>;
    using Partials = std::span<const VectorIn>;

    virtual ~Operations() = default;

    // ---- rows of a tile ---------------------------------------------------------------------------------------
    // tile(i, j) = source row rows[i], column j, converted to the tile's type.
    virtual void load_rows(const RowSource&, RowRange rows, Out tile) noexcept = 0;
    // The same for compressed rows, which stay compressed.
    virtual void load_csr(const RowSource&, RowRange, CsrTile<Real>) noexcept { std::abort(); }
    virtual void load_weights(const RowSource&, RowRange rows, Matrix<double> tile) noexcept = 0;
    virtual void load_classes(const RowSource&, RowRange rows, Vector<std::int32_t> tile) noexcept = 0;
    // Row n of m, or of the tile, = 0 if all weights in row n of c are 0. c has one column or more.
    virtual void clear_masked_rows(Matrix<const double> c, Out m) noexcept = 0;
    virtual void clear_masked_csr(Matrix<const double>, CsrTile<Real>) noexcept { std::abort(); }
    // m(n, j) = 0 if c(n, j) is 0. A c of one column applies to all columns of m.
    virtual void clear_masked_outputs(Matrix<const double> c, Out m) noexcept = 0;
    // A barrier if several threads share the pass. Otherwise it does nothing.
    virtual void barrier_wait() noexcept {}

    // ---- primitives -------------------------------------------------------------------------------------------
    // c = alpha a b + beta c. beta = 0 never reads c.
    virtual void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept = 0;
    // The same product with a in CSR, and with the transpose of a in CSR.
    virtual void sparse_gemm(Real, const Csr<Real>&, In, Real, Out) noexcept { std::abort(); }
    virtual void sparse_gemm_transposed(Real, const Csr<Real>&, In, Real, Out) noexcept { std::abort(); }
    // s += b (b may be empty); x = g(s). s and x may be the same view. Both are whole rows if couples_columns(g).
    virtual void activate(G g, VectorIn b, Out s, Out x) noexcept = 0;
    // delta *= g'(s), the product with the Jacobian of whole rows if couples_columns(g). Unless derivative_needs_s(g),
    // s is not read.
    virtual void multiply_by_derivative(G g, In s, In x, Out delta) noexcept = 0;
    // delta = c scale de_n/ds(L) (delta may be empty); fills the slots. s is read where loss_needs_s; rows are whole.
    virtual void output_delta(const LossFunction<Real>& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                              LossSlots slots) noexcept = 0;
    // to = from / keep where the unit is kept, else 0. to may be from.
    virtual void drop(const Dropout& dropout, In from, Out to) noexcept = 0;
    // x_dot = g'(s) s_dot. x_dot may be s_dot.
    virtual void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept = 0;
    // delta_dot = g'(s) delta_dot + g''(s) s_dot u, where delta_dot enters holding u_dot. Whole rows if
    // couples_columns(g).
    virtual void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept = 0;
    // delta_dot = the derivative of output_delta's delta along s_dot, or its Gauss-Newton part.
    virtual void output_delta_tangent(const LossFunction<Real>& loss, G g, In s, In x, const Target<Real>& y, In s_dot,
                                      Out delta_dot, Curvature which) noexcept = 0;
    // b = alpha (column sums of delta, in float64) + beta b. beta = 0 never reads b.
    virtual void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept = 0;
    // squares[n] = (|x_n|^2 + 1) |delta_n|^2 (+ squares[n] where accumulate).
    virtual void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept = 0;
    // norm[n] = sqrt(squares[n]) / abs(scale c[n]), 0 where c[n] = 0; factor[n] = limit / norm[n], at most 1, and 0
    // if the norm overflows. c may be empty: all 1. Either result may be empty, and be squares itself.
    virtual void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                               Vector<double> norm, Vector<double> factor) noexcept = 0;
    // row n of m *= factor[n]; exactly 0 if factor[n] is 0, even if m holds inf or nan.
    virtual void scale_rows(Vector<const double> factor, Out m) noexcept = 0;
    virtual void copy(In from, Out to) noexcept = 0;
    // to += from.
    virtual void add(In from, Out to) noexcept = 0;
    // out = beta out + the sum of the partials, added in a fixed binary tree. beta = 0 never reads out.
    virtual void reduce(Partials partials, Real beta, VectorOut out) noexcept = 0;
    // grad += l2 w + l1 sign(w).
    virtual void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept = 0;
    // *out += sum (w / unit)^2, and *out += sum |w|. `largest` bounds the magnitudes of w, and unit is
    // formulas::norm_unit of it, which keeps the squares finite. Null: unit is 1.
    virtual void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept = 0;
    virtual void sum_of_magnitudes(VectorIn w, double* out) noexcept = 0;
    // *factor = limit / (unit sqrt(*squares) + 1e-6), at most 1: what clips a gradient, as torch's clip_grad_norm_.
    virtual void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept = 0;
    // *out = the largest of *out and the magnitudes of m; inf if a number of m is nan.
    virtual void largest_magnitude(In m, double* out) noexcept = 0;
    // *place = the last place in v whose number is nan or larger than limit in magnitude, -1 if there is none.
    virtual void find_larger(VectorIn v, double limit, Index* place) noexcept = 0;
    // *slot = 0.
    virtual void clear(double* slot) noexcept = 0;
    // If *place is not -1, the ledger notes it and the number there as refused, and now->step becomes 0. Only the first
    // refusal is noted.
    virtual void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                               StepScalars* now) noexcept = 0;
    // The ledger's *entry gets the sum of the parts as its loss. With `now` (not null), a loss that is not finite makes
    // the ledger note the entry as refused, and now->step becomes 0 if this or an earlier entry was refused.
    virtual void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger,
                           StepScalars* now) noexcept = 0;
    // The ledger's *entry gets the penalties l2/2 *squares + l1 *magnitudes.
    virtual void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                              Ledger* ledger) noexcept = 0;
    // One optimiser step on params. The gradient is the sum of the partials, and moment_count gives the number of
    // moments. Does nothing if now->step is 0.
    virtual void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                        std::span<const VectorOut> moments) noexcept = 0;

    // ---- the lecture's equations: where a backend may fuse ---------------------------------------------------------
    // (1)(2): s = x(l-1) w + partial_sum + b; x = g(s), and dropout. `partial_sum` is the part of the sum that other
    // threads computed, or empty.
    virtual void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In partial_sum,
                                 const LayerValues<Real>& out) noexcept {
        product(in, layer.w, 0, out.s);
        if (!partial_sum.empty()) add(partial_sum, out.s);
        activate_and_drop(layer.g, layer.b, out);
    }

    // (4): delta(l-1) = (delta(l) w(l)^T) * g'(s(l-1)), zero where the unit was dropped; `below` holds the values of
    // layer l-1, g its activation.
    virtual void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept {
        gemm(1, delta, above.w.transposed(), 0, below.delta);
        if (!below.u.empty()) copy(below.delta, below.u);
        multiply_by_derivative(g, below.s, below.dropout.active() ? below.s : below.x, below.delta);
        if (below.dropout.active()) drop(below.dropout, below.delta, below.delta);
    }

    // (5)(6): w = beta w + alpha x(l-1)^T delta; b = beta b + alpha column sums of delta.
    virtual void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept {
        if (!sink.w.empty()) {
            if (in.csr != nullptr)
                sparse_gemm_transposed(sink.blend_w->alpha, *in.csr, delta, sink.blend_w->beta, sink.w);
            else
                gemm(sink.blend_w->alpha, in.dense.transposed(), delta, sink.blend_w->beta, sink.w);
        }
        if (!sink.b.empty()) column_sums(sink.blend_b->alpha, delta, sink.blend_b->beta, sink.b);
    }

    // Before (5)(6): bounds on the magnitudes of the factors of all products. Each of *out becomes at least as large as
    // the largest magnitude, and inf if there is a nan. A backend may give a bound of up to 2 for smaller numbers.
    virtual void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) noexcept {
        for (std::size_t k = 0; k < pass.layer.size(); ++k) {
            const Input<Real> in = pass.input(Index(k));
            if (in.csr == nullptr) largest_magnitude(in.dense, &out->x);
            if (in.csr != nullptr) largest_magnitude(in.csr->kept_numbers(), &out->x);
            largest_magnitude(pass.layer[k].delta, &out->delta);
        }
    }

    // (5)(6) and an optimiser step on w and b. Some rows of w are updated at a time, while their gradient is in a near
    // cache, and the next rows reuse its memory in the sink. w or b may be empty.
    virtual void step_layer(const Input<Real>& in, In delta, const LayerSink<Real>& sink,
                            const LayerStep<Real>& step) noexcept {
        const std::size_t moments = std::size_t(moment_count(*step.rule));
        for (Index p = 0; p < step.w.rows; p += rows_per_step) {
            const Index q = step.w.rows - p < rows_per_step ? step.w.rows : p + rows_per_step;
            const LayerStep<Real> part = step.rows_of_w(p, q);
            const Out grad = sink.w.row_block(0, q - p);
            accumulate_gradients({in.dense.column_block(p, q)}, delta, {grad, {}, sink.blend_w, sink.blend_b});
            const auto flat = [](Matrix<Real> m) { return VectorOut{m.data, m.rows * m.cols}; };
            if (step.l2 != 0 || step.l1 != 0) add_penalty(step.l2, step.l1, flat(part.w), flat(grad));
            VectorOut kept[most_moments];
            for (std::size_t k = 0; k < moments; ++k) kept[k] = flat(part.moments_of_w[k]);
            const VectorIn gradient = flat(grad);
            update(*step.rule, step.now, {&gradient, 1}, flat(part.w), {kept, moments});
        }
        if (sink.b.empty()) return;
        column_sums(sink.blend_b->alpha, delta, sink.blend_b->beta, sink.b);
        const VectorIn gradient = sink.b;
        update(*step.rule, step.now, {&gradient, 1}, step.b, {step.moments_of_b, moments});
    }
    static constexpr Index rows_per_step = 192;

    // (1) to (6) of one tile in one go, from pass.x0 and y to the sink, where the backend has a kernel for such a net:
    // the one place that may state the equations again. False: it has done nothing, and they are carried out one by
    // one.
    //
    // True: it has done, or enqueued, what forward, output_delta and backpropagate would have. The loss of the rows,
    // weighted and scaled, is added to *loss_sum; every w and b of the sink is blended with its gradient, also where
    // there are no rows. s, x and delta of the pass are scratch and may be left with anything in them; nothing else is
    // written. Sums may be rounded otherwise than the operations round them, but the same arguments give the same
    // answer and the same bits each time.
    //
    // It is asked once for each tile, before the forward pass, where the gradient of the model's loss by the parameters
    // is all that is wanted: no s, x or delta for the caller, no input gradient, no loss or norm of single rows, no
    // tangents, no other seed. No team shares the tile, and the sink is not the parameters: whether a step is made is
    // decided when the loss is known. Everything else is in the arguments, and a kernel must look for what it cannot
    // do: compressed rows, dropout, weights of single outputs, any strides.
    virtual bool try_fused_pass(Network<Real> /*net*/, const Pass<Real>& /*pass*/, const LossFunction<Real>& /*loss*/,
                                const Target<Real>& /*y*/, double* /*loss_sum*/, Sink<Real> /*sink*/) noexcept {
        return false;
    }

    // c = a b + beta c.
    void product(const Input<Real>& a, In b, Real beta, Out c) noexcept {
        if (a.csr != nullptr) return sparse_gemm(1, *a.csr, b, beta, c);
        gemm(1, a.dense, b, beta, c);
    }

    // The part of affine_activate behind the product.
    void activate_and_drop(G g, VectorIn b, const LayerValues<Real>& out) noexcept {
        if (!out.dropout.active()) return activate(g, b, out.s, out.x);
        const Out before = derivative_needs_s(g.kind) ? out.x : out.s;
        activate(g, b, out.s, before);
        drop(out.dropout, before, out.x);
    }
};

}  // namespace fastbp
