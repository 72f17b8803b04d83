// A backend below Cooperative that logs which bytes each operation of its member reads and writes. Reads through a
// RowSource are not logged: the arrays behind it are the caller's, and no operation writes them.
#pragma once

#include <cstring>

#include "access_log.hpp"
#include "seam/backend.hpp"
#include "serial_team.hpp"

namespace fastbp::test {

template <class Real>
class WatchedBackend final : public Backend<Real> {
    using Kind = AccessLog::Kind;

  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::VectorIn;
    using typename Backend<Real>::VectorOut;
    using typename Backend<Real>::G;
    using typename Backend<Real>::Partials;
    using Loss = LossFunction<Real>;

    WatchedBackend(Backend<Real>& on, AccessLog& log, const SerialTeam& team, int member)
        : on_(on), log_(log), team_(team), member_(member) {}

    // ---- memory and order -------------------------------------------------------------------------------------------
    const char* name() const noexcept override { return on_.name(); }
    // Memory in which every float is nan, so that a read before the write shows in the results.
    void* allocate(std::size_t bytes) noexcept override {
        void* memory = on_.allocate(bytes);
        if (memory != nullptr) std::memset(memory, 0xff, bytes);
        return memory;
    }
    void release(void* memory) noexcept override { on_.release(memory); }
    void upload(const void* from, void* to, std::size_t bytes) noexcept override {
        begin("upload");
        log_.note(Kind::write, to, 1, Index(bytes), 0);
        on_.upload(from, to, bytes);
    }
    void download(const void* from, void* to, std::size_t bytes) noexcept override {
        begin("download");
        log_.note(Kind::read, from, 1, Index(bytes), 0);
        on_.download(from, to, bytes);
    }
    void copy_bytes(const void* from, void* to, std::size_t bytes) noexcept override {
        begin("copy_bytes");
        log_.note(Kind::read, from, 1, Index(bytes), 0);
        log_.note(Kind::write, to, 1, Index(bytes), 0);
        on_.copy_bytes(from, to, bytes);
    }
    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override {
        begin("load_rows");
        writes(tile);
        on_.load_rows(source, rows, tile);
    }
    void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile) noexcept override {
        begin("load_csr");
        on_.load_csr(source, rows, tile);
        const Index kept = tile.starts[rows.count];
        writes(Vector<Index>{tile.starts, rows.count + 1}, Vector<Index>{tile.columns, kept},
               Vector<Real>{tile.values, kept});
    }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        begin("load_weights");
        writes(tile);
        on_.load_weights(source, rows, tile);
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        begin("load_classes");
        writes(tile);
        on_.load_classes(source, rows, tile);
    }
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override {
        begin("clear_masked_rows");
        reads(c);
        writes(m);
        on_.clear_masked_rows(c, m);
    }
    void clear_masked_csr(Matrix<const double> c, CsrTile<Real> tile) noexcept override {
        begin("clear_masked_csr");
        reads(c, Vector<Index>{tile.starts, c.rows + 1});
        writes(Vector<Real>{tile.values, tile.starts[c.rows]});
        on_.clear_masked_csr(c, tile);
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        begin("clear_masked_outputs");
        reads(c);
        writes(m);
        on_.clear_masked_outputs(c, m);
    }
    void count_misfits(const RowSource& numbers, const NumberRule& rule, Index* misfits) noexcept override {
        on_.count_misfits(numbers, rule, misfits);
    }
    void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) noexcept override {
        on_.sum_weights(c, rows, batch, sums);
    }

    // ---- primitives -------------------------------------------------------------------------------------------------
    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        begin("gemm");
        reads(a, b);
        writes(c);
        on_.gemm(alpha, a, b, beta, c);
    }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        begin("sparse_gemm");
        reads(a, b);
        writes(c);
        on_.sparse_gemm(alpha, a, b, beta, c);
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        begin("sparse_gemm_transposed");
        reads(a, b);
        writes(c);
        on_.sparse_gemm_transposed(alpha, a, b, beta, c);
    }
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        begin("activate");
        reads(b);
        writes(s, x);
        on_.activate(g, b, s, x);
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        begin("multiply_by_derivative");
        reads(s, x);
        writes(delta);
        on_.multiply_by_derivative(g, s, x, delta);
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        begin("output_delta");
        reads(loss.parameter, s, x, y);
        writes(delta, slot(slots.sum), slots.example);
        on_.output_delta(loss, g, s, x, y, delta, slots);
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        begin("drop");
        reads(dropout, from);
        writes(to);
        on_.drop(dropout, from, to);
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        begin("activate_tangent");
        reads(s, x, s_dot);
        writes(x_dot);
        on_.activate_tangent(g, s, x, s_dot, x_dot);
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        begin("derivative_tangent");
        reads(s, x, s_dot, u);
        writes(delta_dot);
        on_.derivative_tangent(g, s, x, s_dot, u, delta_dot);
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                              Curvature which) noexcept override {
        begin("output_delta_tangent");
        reads(loss.parameter, s, x, y, s_dot);
        writes(delta_dot);
        on_.output_delta_tangent(loss, g, s, x, y, s_dot, delta_dot, which);
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        begin("column_sums");
        reads(delta);
        writes(b);
        on_.column_sums(alpha, delta, beta, b);
    }
    void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept override {
        begin("gradient_squares");
        reads(x, delta);
        writes(squares);
        on_.gradient_squares(x, delta, accumulate, squares);
    }
    void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                       Vector<double> norm, Vector<double> factor) noexcept override {
        begin("example_norms");
        reads(squares, c, slot(scale));
        writes(norm, factor);
        on_.example_norms(squares, c, scale, limit, norm, factor);
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        begin("scale_rows");
        reads(factor);
        writes(m);
        on_.scale_rows(factor, m);
    }
    void copy(In from, Out to) noexcept override {
        begin("copy");
        reads(from);
        writes(to);
        on_.copy(from, to);
    }
    void add(In from, Out to) noexcept override {
        begin("add");
        reads(from);
        writes(to);
        on_.add(from, to);
    }
    void reduce(Partials partials, Real beta, VectorOut out) noexcept override {
        begin("reduce");
        for (const VectorIn& part : partials) reads(part);
        writes(out);
        on_.reduce(partials, beta, out);
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        begin("add_penalty");
        reads(w);
        writes(grad);
        on_.add_penalty(l2, l1, w, grad);
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        begin("sum_of_squares");
        reads(w, slot(largest));
        writes(slot(out));
        on_.sum_of_squares(w, largest, out);
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override {
        begin("sum_of_magnitudes");
        reads(w);
        writes(slot(out));
        on_.sum_of_magnitudes(w, out);
    }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        begin("clip_factor");
        reads(slot(squares), slot(largest));
        writes(slot(factor));
        on_.clip_factor(squares, largest, limit, factor);
    }
    void largest_magnitude(In m, double* out) noexcept override {
        begin("largest_magnitude");
        reads(m);
        writes(slot(out));
        on_.largest_magnitude(m, out);
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override {
        begin("find_larger");
        reads(v);
        writes(slot(place));
        on_.find_larger(v, limit, place);
    }
    void clear(double* at) noexcept override {
        begin("clear");
        writes(slot(at));
        on_.clear(at);
    }
    void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                       StepScalars* now) noexcept override {
        begin("note_gradient");
        reads(gradient, slot(place), slot(entry));
        writes(slot(ledger), slot(now));
        on_.note_gradient(gradient, place, entry, ledger, now);
    }
    void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) noexcept override {
        begin("note_loss");
        reads(parts, slot(entry), slot(ledger));
        writes(slot(&ledger->entries[*entry].loss), slot(now));
        on_.note_loss(parts, entry, ledger, now);
    }
    void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                      Ledger* ledger) noexcept override {
        begin("note_penalty");
        reads(slot(squares), slot(magnitudes), slot(entry));
        writes(slot(&ledger->entries[*entry].penalty));
        on_.note_penalty(squares, magnitudes, l2, l1, entry, ledger);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        begin("update");
        reads(slot(now));
        for (const VectorIn& part : gradient) reads(part);
        writes(params);
        for (const VectorOut& moment : moments) writes(moment);
        on_.update(rule, now, gradient, params, moments);
    }

    // ---- the lecture's equations ------------------------------------------------------------------------------------
    void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In partial_sum,
                         const LayerValues<Real>& out) noexcept override {
        begin("affine_activate");
        reads(layer.w, layer.b, in, partial_sum, out.dropout);
        writes(out.s, out.x);
        on_.affine_activate(layer, in, partial_sum, out);
    }
    void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept override {
        begin("propagate_delta");
        reads(above.w, delta, below.s, below.x, below.dropout);
        writes(below.delta, below.u);
        on_.propagate_delta(above, delta, g, below);
    }
    void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept override {
        begin("accumulate_gradients");
        if (!sink.w.empty()) reads(in, slot(sink.blend_w));
        reads(delta, slot(sink.blend_b));
        writes(sink.w, sink.b);
        on_.accumulate_gradients(in, delta, sink);
    }
    void step_layer(const Input<Real>& in, In delta, const LayerSink<Real>& sink,
                    const LayerStep<Real>& step) noexcept override {
        begin("step_layer");
        reads(in, delta, slot(sink.blend_w), slot(sink.blend_b), slot(step.now));
        writes(sink.w, sink.b, step.w, step.b);
        for (int k = 0; k < moment_count(*step.rule); ++k) writes(step.moments_of_w[k], step.moments_of_b[k]);
        on_.step_layer(in, delta, sink, step);
    }

  private:
    void begin(const char* operation) { log_.begin(operation, member_, team_.interval()); }
    template <class... Views>
    void reads(const Views&... views) {
        (note(Kind::read, views), ...);
    }
    template <class... Views>
    void writes(const Views&... views) {
        (note(Kind::write, views), ...);
    }

    template <class T>
    static Vector<T> slot(T* place) {
        return {place, place == nullptr ? 0 : 1};
    }
    template <class View>
    void note(Kind kind, const View& view) {
        log_.note(kind, view);
    }
    void note(Kind kind, const Csr<Real>& m) {
        const Index begin = m.starts[0], kept = m.starts[m.rows] - begin;
        note(kind, Vector<const Index>{m.starts, m.rows + 1});
        note(kind, Vector<const Index>{m.columns + begin, kept});
        note(kind, Vector<const Real>{m.values + begin, kept});
    }
    void note(Kind kind, const Input<Real>& in) {
        if (in.csr != nullptr) return note(kind, *in.csr);
        note(kind, in.dense);
    }
    void note(Kind kind, const Target<Real>& y) {
        note(kind, y.values);
        note(kind, y.classes);
        note(kind, y.c);
        note(kind, slot(y.scale));
    }
    void note(Kind kind, const Dropout& dropout) { note(kind, slot(dropout.step)); }

    Backend<Real>& on_;
    AccessLog& log_;
    const SerialTeam& team_;
    const int member_;
};

}  // namespace fastbp::test
