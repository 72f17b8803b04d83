// Several threads, one pass: a decorator that gives each member of a team its blocks of every operation.
//
// Every member runs the same algorithm over its own Cooperative. An output is cut into blocks at places that depend
// on its size and the plan alone; member m of a team of T does blocks m, m + T, ... So the bits depend on the plan,
// never on how many turned up.
//
// Others may read what a member has written after a meeting. It is put off until an operation reads what is not its
// own: blocks of one cut pass from operation to operation without one. And each layer's weights keep to one cut, of
// whole rows where the batch allows it: a processor that only touches its own part of w keeps it in its cache, while
// parts that alternate within a few cache lines are fetched for each other by the prefetchers, at half the speed.
#pragma once

#include "execution/team_blocks.hpp"
#include "seam/backend.hpp"

namespace fastbp {

template <class Real>
class Cooperative final : public Backend<Real>, private TeamBlocks<Real> {
    using Blocks = TeamBlocks<Real>;
    using Blocks::alone;
    using Blocks::barrier_;
    using Blocks::by_columns;
    using Blocks::by_rows;
    using Blocks::each;
    using Blocks::each_block;
    using Blocks::follow;
    using Blocks::is_narrow;
    using Blocks::member_;
    using Blocks::plan_;
    using Blocks::read_all;
    using Blocks::summed;
    using Blocks::sums_;
    using Blocks::unread_;
    using typename Blocks::Way;

  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::VectorIn;
    using typename Backend<Real>::VectorOut;
    using typename Backend<Real>::G;
    using typename Backend<Real>::Partials;
    using Loss = LossFunction<Real>;

    Cooperative(Backend<Real>& one, Barrier& barrier, int member, const Plan& plan, const SharedSums<Real>& sums)
        : Blocks(barrier, member, plan, sums), one_(one) {}

    void meet() noexcept override { Blocks::meet_all(); }
    const char* name() const noexcept override { return one_.name(); }
    void* allocate(std::size_t bytes) noexcept override { return one_.allocate(bytes); }
    void release(void* memory) noexcept override { one_.release(memory); }
    // Slots are each member's own, here and below.
    void upload(const void* from, void* to, std::size_t bytes) noexcept override { one_.upload(from, to, bytes); }
    void download(const void* from, void* to, std::size_t bytes) noexcept override { one_.download(from, to, bytes); }
    void copy_bytes(const void* from, void* to, std::size_t bytes) noexcept override {
        alone([&] { one_.copy_bytes(from, to, bytes); });
    }
    bool asynchronous() const noexcept override { return one_.asynchronous(); }
    bool keeps_rows_compressed() const noexcept override { return one_.keeps_rows_compressed(); }

    // Wide rows are cut by columns: those that this member's part of (1) and (5) reads.
    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override {
        if (is_narrow(tile.cols))
            return by_rows(tile.rows,
                           [&](Index p, Index q) { one_.load_rows(source, rows.block(p, q), tile.row_block(p, q)); });
        by_columns(tile.cols,
                   [&](Index p, Index q) { one_.load_rows(source.from_column(p), rows, tile.column_block(p, q)); });
    }
    void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile) noexcept override {
        alone([&] { one_.load_csr(source, rows, tile); });
    }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        by_rows(tile.rows,
                [&](Index p, Index q) { one_.load_weights(source, rows.block(p, q), tile.row_block(p, q)); });
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        by_rows(tile.size, [&](Index p, Index q) { one_.load_classes(source, rows.block(p, q), tile.block(p, q)); });
    }
    // Cut in the same way as load_rows.
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override {
        if (is_narrow(m.cols))
            return by_rows(m.rows,
                           [&](Index p, Index q) { one_.clear_masked_rows(c.row_block(p, q), m.row_block(p, q)); });
        by_columns(m.cols, [&](Index p, Index q) { one_.clear_masked_rows(c, m.column_block(p, q)); });
    }
    void clear_masked_csr(Matrix<const double> c, CsrTile<Real> tile) noexcept override {
        alone([&] { one_.clear_masked_csr(c, tile); });
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        by_rows(m.rows, [&](Index p, Index q) { one_.clear_masked_outputs(c.row_block(p, q), m.row_block(p, q)); });
    }

    // Of which every member wants the result.
    void count_misfits(const RowSource& numbers, const NumberRule& rule, Index* misfits) noexcept override {
        one_.count_misfits(numbers, rule, misfits);
    }
    void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) noexcept override {
        one_.sum_weights(c, rows, batch, sums);
    }

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        read_all();
        by_columns(c.cols,
                   [&](Index p, Index q) { one_.gemm(alpha, a, b.column_block(p, q), beta, c.column_block(p, q)); });
    }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        read_all();
        by_rows(c.rows,
                [&](Index p, Index q) { one_.sparse_gemm(alpha, a.row_block(p, q), b, beta, c.row_block(p, q)); });
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        read_all();
        by_columns(c.cols, [&](Index p, Index q) {
            one_.sparse_gemm_transposed(alpha, a, b.column_block(p, q), beta, c.column_block(p, q));
        });
    }
    // The elementwise operations are cut by rows, because a g that couples columns needs whole rows.
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        by_rows(x.rows, [&](Index p, Index q) { one_.activate(g, b, s.row_block(p, q), x.row_block(p, q)); });
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        by_rows(delta.rows, [&](Index p, Index q) {
            one_.multiply_by_derivative(g, s.row_block(p, q), x.row_block(p, q), delta.row_block(p, q));
        });
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        summed(Way::rows, x.rows, slots.sum, [&](Index p, Index q, double* sum) {
            one_.output_delta(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q), delta.row_block(p, q),
                              {sum, slots.example.block(p, q)});
        });
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        by_rows(to.rows, [&](Index p, Index q) {
            one_.drop(dropout.row_block(p, q), from.row_block(p, q), to.row_block(p, q));
        });
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        by_rows(x_dot.rows, [&](Index p, Index q) {
            one_.activate_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q),
                                  x_dot.row_block(p, q));
        });
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        by_rows(delta_dot.rows, [&](Index p, Index q) {
            one_.derivative_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q), u.row_block(p, q),
                                    delta_dot.row_block(p, q));
        });
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                              Curvature which) noexcept override {
        by_rows(x.rows, [&](Index p, Index q) {
            one_.output_delta_tangent(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q),
                                      s_dot.row_block(p, q), delta_dot.row_block(p, q), which);
        });
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        by_columns(b.size,
                   [&](Index p, Index q) { one_.column_sums(alpha, delta.column_block(p, q), beta, b.block(p, q)); });
    }
    void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept override {
        by_rows(squares.size, [&](Index p, Index q) {
            const auto of_rows = [&](const Input<Real>& rows) {
                one_.gradient_squares(rows, delta.row_block(p, q), accumulate, squares.block(p, q));
            };
            if (x.csr == nullptr) return of_rows({x.dense.row_block(p, q)});
            const Csr<Real> block = x.csr->row_block(p, q);
            of_rows({{}, &block});
        });
    }
    void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                       Vector<double> norm, Vector<double> factor) noexcept override {
        by_rows(squares.size, [&](Index p, Index q) {
            one_.example_norms(squares.block(p, q), c.block(p, q), scale, limit, norm.block(p, q), factor.block(p, q));
        });
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        if (m.rows == 1)
            return by_columns(m.cols, [&](Index p, Index q) { one_.scale_rows(factor, m.column_block(p, q)); });
        by_rows(m.rows, [&](Index p, Index q) { one_.scale_rows(factor.block(p, q), m.row_block(p, q)); });
    }
    void copy(In from, Out to) noexcept override {
        by_rows(to.rows, [&](Index p, Index q) { one_.copy(from.row_block(p, q), to.row_block(p, q)); });
    }
    void add(In from, Out to) noexcept override {
        by_rows(to.rows, [&](Index p, Index q) { one_.add(from.row_block(p, q), to.row_block(p, q)); });
    }
    // Vectors of parameters are cut alike by all of these.
    void reduce(Partials partials, Real beta, VectorOut out) noexcept override {
        by_columns(out.size, [&](Index p, Index q) {
            VectorIn parts[Plan::most_parts];
            one_.reduce(block_of(partials, p, q, parts), beta, out.block(p, q));
        });
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        by_columns(grad.size, [&](Index p, Index q) { one_.add_penalty(l2, l1, w.block(p, q), grad.block(p, q)); });
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        summed(Way::columns, w.size, out,
               [&](Index p, Index q, double* sum) { one_.sum_of_squares(w.block(p, q), largest, sum); });
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override {
        summed(Way::columns, w.size, out,
               [&](Index p, Index q, double* sum) { one_.sum_of_magnitudes(w.block(p, q), sum); });
    }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        one_.clip_factor(squares, largest, limit, factor);
    }
    void largest_magnitude(In m, double* out) noexcept override {
        follow({Way::columns, m.cols});
        each(m.cols, [&](Index p, Index q, int k) {
            sums_.number(k) = 0;
            one_.largest_magnitude(m.column_block(p, q), &sums_.number(k));
        });
        meet();
        each_block(m.cols, [&](Index, Index, int k) { *out = std::max(*out, sums_.number(k)); });
        sums_.turn_numbers();
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override {
        follow({Way::columns, v.size});
        each(v.size, [&](Index p, Index q, int k) {
            Index found = -1;
            one_.find_larger(v.block(p, q), limit, &found);
            sums_.number(k) = found < 0 ? -1 : double(p + found);
        });
        meet();
        *place = -1;
        each_block(v.size, [&](Index, Index, int k) { *place = std::max(*place, Index(sums_.number(k))); });
        sums_.turn_numbers();
    }
    void note_gradient(VectorIn gradient, const Index* place, Ledger* ledger, StepScalars* now) noexcept override {
        one_.note_gradient(gradient, place, ledger, now);
    }
    void note_loss(const double* loss, Ledger* ledger, StepScalars* now) noexcept override {
        one_.note_loss(loss, ledger, now);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        by_columns(params.size, [&](Index p, Index q) {
            VectorIn parts[Plan::most_parts];
            VectorOut state[most_moments];
            for (std::size_t k = 0; k < moments.size(); ++k) state[k] = moments[k].block(p, q);
            one_.update(rule, now, block_of(gradient, p, q, parts), params.block(p, q), {state, moments.size()});
        });
    }

    void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In rest,
                         const LayerValues<Real>& out) noexcept override {
        if (in.csr != nullptr || !rest.empty()) return Backend<Real>::affine_activate(layer, in, rest, out);
        if (plan_.cuts_inner(in.dense.cols)) return affine_activate_along_inner(layer, in.dense, out);
        if (is_narrow(out.x.cols))
            return by_rows(out.x.rows, [&](Index p, Index q) {
                one_.affine_activate(layer, {in.dense.row_block(p, q)}, {}, out.row_block(p, q));
            });
        if (couples_columns(layer.g.kind)) return Backend<Real>::affine_activate(layer, in, rest, out);
        read_all();
        by_columns(out.x.cols, [&](Index p, Index q) {
            one_.affine_activate({layer.w.column_block(p, q), layer.b.block(p, q), layer.g}, in, {},
                                 out.column_block(p, q));
        });
    }
    void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept override {
        if (is_narrow(below.delta.cols))
            return by_rows(delta.rows, [&](Index p, Index q) {
                one_.propagate_delta(above, delta.row_block(p, q), g, below.row_block(p, q));
            });
        read_all();
        by_columns(below.delta.cols, [&](Index p, Index q) {
            one_.propagate_delta({above.w.row_block(p, q), above.b, above.g}, delta, g, below.column_block(p, q));
        });
    }
    // Each member reads only blocks that it wrote itself or that all can read, so one barrier is enough.
    void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) noexcept override {
        const bool cuts_columns = unread_.way == Way::columns;
        for (int k = member_; k < plan_.parts; k += barrier_.team()) {
            Magnitudes own;
            for (std::size_t l = 0; l < pass.layer.size(); ++l) {
                const Matrix<Real> delta = pass.layer[l].delta;
                one_.largest_magnitude(block_of(delta, k, cuts_columns), &own.delta);
                const Input<Real> in = pass.input(Index(l));
                if (in.csr == nullptr) one_.largest_magnitude(block_of(in.dense, k, cuts_columns), &own.x);
                if (in.csr != nullptr) one_.largest_magnitude(in.csr->kept_numbers(), &own.x);
            }
            sums_.pair(k)[0] = own.x;
            sums_.pair(k)[1] = own.delta;
        }
        meet();
        for (int k = 0; k < plan_.parts; ++k) {
            out->x = std::max(out->x, sums_.pair(k)[0]);
            out->delta = std::max(out->delta, sums_.pair(k)[1]);
        }
        sums_.turn_numbers();
    }
    // Cut as (1) reads w in the next step: by rows, or by columns where there are many.
    void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept override {
        if (unread_.way != Way::gradients) read_all();  // which no other layer's gradient reads
        unread_ = {Way::gradients, 0};
        const bool by_columns_of_w =
            in.csr != nullptr || (!plan_.cuts_inner(in.dense.cols) && delta.cols >= 2 * Plan::grain * plan_.parts);
        each(delta.cols, [&](Index p, Index q, int) {
            const Matrix<Real> w = by_columns_of_w ? sink.w.column_block(p, q) : Matrix<Real>{};
            one_.accumulate_gradients(in, delta.column_block(p, q),
                                      {w, sink.b.block(p, q), sink.blend_w, sink.blend_b});
        });
        each(by_columns_of_w || sink.w.empty() ? 0 : sink.w.rows, [&](Index p, Index q, int) {
            one_.accumulate_gradients({in.dense.column_block(p, q)}, delta,
                                      {sink.w.row_block(p, q), {}, sink.blend_w, sink.blend_b});
        });
    }

    // By rows of w alone: a step needs them whole.
    void step_layer(const Input<Real>& in, In delta, const LayerSink<Real>& sink,
                    const LayerStep<Real>& step) noexcept override {
        if (unread_.way != Way::gradients) read_all();
        unread_ = {Way::gradients, 0};
        each(sink.b.size, [&](Index p, Index q, int) {
            one_.step_layer({}, delta.column_block(p, q), {{}, sink.b.block(p, q), sink.blend_w, sink.blend_b},
                            step.part_of_b(p, q));
        });
        each(sink.w.rows, [&](Index p, Index q, int) {
            one_.step_layer({in.dense.column_block(p, q)}, delta,
                            {sink.w.row_block(p, q), {}, sink.blend_w, sink.blend_b}, step.rows_of_w(p, q));
        });
    }

  private:
    // Block k of all rows or columns, as `each` cuts them.
    In block_of(In m, int k, bool cuts_columns) const {
        const Cut cut{cuts_columns ? m.cols : m.rows, Plan::grain, plan_.parts};
        const Index p = cut.edge(k), q = cut.edge(k + 1);
        return cuts_columns ? m.column_block(p, q) : m.row_block(p, q);
    }

    static Partials block_of(Partials partials, Index p, Index q, VectorIn* blocks) {
        for (std::size_t k = 0; k < partials.size(); ++k) blocks[k] = partials[k].block(p, q);
        return {blocks, partials.size()};
    }

    // (1)(2) with x and w cut along the dimension that the product sums over.
    void affine_activate_along_inner(const Layer<Real>& layer, In x, const LayerValues<Real>& out) {
        follow({Way::columns, x.cols});
        if (couples_columns(layer.g.kind) || is_narrow(out.x.cols))
            sum_by_rows(layer, x, out);
        else
            sum_by_columns(layer, x, out);
        sums_.turn_products();
    }

    // The first block's product is s itself.
    void sum_by_rows(const Layer<Real>& layer, In x, const LayerValues<Real>& out) {
        const auto product = [&](int k) { return k == 0 ? out.s : sums_.product(k, out.s.rows, out.s.cols); };
        each(x.cols, [&](Index p, Index q, int k) {
            one_.gemm(1, x.column_block(p, q), layer.w.row_block(p, q), 0, product(k));
        });
        meet();
        by_rows(out.x.rows, [&](Index p, Index q) {
            for (int k = 1; k < plan_.parts; ++k) one_.add(product(k).row_block(p, q), out.s.row_block(p, q));
            one_.activate_and_drop(layer.g, layer.b, out.row_block(p, q));
        });
    }

    // Each block of inputs first makes its part of the other columns' sums. Its own it finishes with what the others
    // have made of them, which is then fetched while it multiplies.
    void sum_by_columns(const Layer<Real>& layer, In x, const LayerValues<Real>& out) {
        const Index rows = out.s.rows, cols = out.s.cols;
        const Cut columns{cols, Plan::grain, plan_.parts};
        each(x.cols, [&](Index p, Index q, int k) {
            const In x_part = x.column_block(p, q), w_part = layer.w.row_block(p, q);
            const auto part_of_others = [&](Index begin, Index end, int slot) {
                if (begin < end)
                    one_.gemm(1, x_part, w_part.column_block(begin, end), 0,
                              sums_.product(slot, rows, cols).column_block(begin, end));
            };
            part_of_others(0, columns.edge(k), k);
            part_of_others(columns.edge(k + 1), cols, k + 1);
        });
        meet();
        each(x.cols, [&](Index p, Index q, int k) {
            const Index begin = columns.edge(k), end = columns.edge(k + 1);
            const Out rest = sums_.product(1, rows, cols).column_block(begin, end);
            for (int slot = 2; slot < plan_.parts; ++slot)
                one_.add(sums_.product(slot, rows, cols).column_block(begin, end), rest);
            one_.affine_activate({layer.w.row_block(p, q).column_block(begin, end), layer.b.block(begin, end), layer.g},
                                 {x.column_block(p, q)}, rest, out.column_block(begin, end));
        });
        unread_ = {Way::columns, cols};
    }

    Backend<Real>& one_;
};

}  // namespace fastbp
