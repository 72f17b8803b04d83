// Several threads, one pass: a decorator that gives each member of a team its blocks of every operation.
//
// Every member runs the same algorithm over its own Cooperative. An output is split into blocks whose edges depend on
// its size and the plan alone. Member m of a team of T computes blocks m, m + T, ... So the bits depend on the plan and
// not on the number of threads.
//
// Each layer's weights keep to one split, by whole rows if the batch allows it. A processor that only touches its own
// part of w keeps it in its cache. If the parts alternate within a few cache lines, the prefetchers of each processor
// fetch lines of the other, and both run at half the speed.
#pragma once

#include "execution/team_blocks.hpp"
#include "seam/operations.hpp"

namespace fastbp {

template <class Real>
class Cooperative final : public Operations<Real>, private TeamBlocks<Real> {
    using Blocks = TeamBlocks<Real>;
    using Blocks::barrier_;
    using Blocks::is_narrow;
    using Blocks::member_;
    using Blocks::plan_;
    using Blocks::share;
    using Blocks::share_maximum;
    using Blocks::share_sum;
    using Blocks::sums_;
    using Blocks::wait_for_team;
    using Blocks::written_;

  public:
    using typename Operations<Real>::In;
    using typename Operations<Real>::Out;
    using typename Operations<Real>::VectorIn;
    using typename Operations<Real>::VectorOut;
    using typename Operations<Real>::G;
    using typename Operations<Real>::Partials;
    using Loss = LossFunction<Real>;

    Cooperative(Operations<Real>& one, Barrier& barrier, int member, const Plan& plan, const SharedSums<Real>& sums)
        : Blocks(barrier, member, plan, sums), one_(one) {}

    void barrier_wait() noexcept override { wait_for_team(); }

    // Wide rows are split by columns: those that this member's part of (1) and (5) reads.
    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override {
        if (is_narrow(tile.cols))
            return share(Axis::rows, tile.rows, Reads::nothing,
                         [&](Index p, Index q) { one_.load_rows(source, rows.block(p, q), tile.row_block(p, q)); });
        share(Axis::columns, tile.cols, Reads::nothing,
              [&](Index p, Index q) { one_.load_rows(source.from_column(p), rows, tile.column_block(p, q)); });
    }
    void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile) noexcept override {
        share(Axis::whole, 1, Reads::nothing, [&](Index, Index) { one_.load_csr(source, rows, tile); });
    }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        share(Axis::rows, tile.rows, Reads::nothing,
              [&](Index p, Index q) { one_.load_weights(source, rows.block(p, q), tile.row_block(p, q)); });
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        share(Axis::rows, tile.size, Reads::nothing,
              [&](Index p, Index q) { one_.load_classes(source, rows.block(p, q), tile.block(p, q)); });
    }
    // Split as load_rows is.
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override {
        if (is_narrow(m.cols))
            return share(Axis::rows, m.rows, Reads::own_blocks,
                         [&](Index p, Index q) { one_.clear_masked_rows(c.row_block(p, q), m.row_block(p, q)); });
        share(Axis::columns, m.cols, Reads::own_blocks,
              [&](Index p, Index q) { one_.clear_masked_rows(c, m.column_block(p, q)); });
    }
    void clear_masked_csr(Matrix<const double> c, CsrTile<Real> tile) noexcept override {
        share(Axis::whole, 1, Reads::own_blocks, [&](Index, Index) { one_.clear_masked_csr(c, tile); });
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        share(Axis::rows, m.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.clear_masked_outputs(c.row_block(p, q), m.row_block(p, q)); });
    }

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        share(Axis::columns, c.cols, Reads::all_blocks,
              [&](Index p, Index q) { one_.gemm(alpha, a, b.column_block(p, q), beta, c.column_block(p, q)); });
    }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        share(Axis::rows, c.rows, Reads::all_blocks,
              [&](Index p, Index q) { one_.sparse_gemm(alpha, a.row_block(p, q), b, beta, c.row_block(p, q)); });
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        share(Axis::columns, c.cols, Reads::all_blocks, [&](Index p, Index q) {
            one_.sparse_gemm_transposed(alpha, a, b.column_block(p, q), beta, c.column_block(p, q));
        });
    }
    // The elementwise operations are split by rows, because a g that couples columns needs whole rows.
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        share(Axis::rows, x.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.activate(g, b, s.row_block(p, q), x.row_block(p, q)); });
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        share(Axis::rows, delta.rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.multiply_by_derivative(g, s.row_block(p, q), x.row_block(p, q), delta.row_block(p, q));
        });
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        share_sum(Axis::rows, x.rows, slots.sum, [&](Index p, Index q, double* sum) {
            one_.output_delta(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q), delta.row_block(p, q),
                              {sum, slots.example.block(p, q)});
        });
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        share(Axis::rows, to.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.drop(dropout.row_block(p, q), from.row_block(p, q), to.row_block(p, q)); });
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        share(Axis::rows, x_dot.rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.activate_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q),
                                  x_dot.row_block(p, q));
        });
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        share(Axis::rows, delta_dot.rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.derivative_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q), u.row_block(p, q),
                                    delta_dot.row_block(p, q));
        });
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                              Curvature which) noexcept override {
        share(Axis::rows, x.rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.output_delta_tangent(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q),
                                      s_dot.row_block(p, q), delta_dot.row_block(p, q), which);
        });
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        share(Axis::columns, b.size, Reads::own_blocks,
              [&](Index p, Index q) { one_.column_sums(alpha, delta.column_block(p, q), beta, b.block(p, q)); });
    }
    void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept override {
        share(Axis::rows, squares.size, Reads::own_blocks, [&](Index p, Index q) {
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
        share(Axis::rows, squares.size, Reads::own_blocks, [&](Index p, Index q) {
            one_.example_norms(squares.block(p, q), c.block(p, q), scale, limit, norm.block(p, q), factor.block(p, q));
        });
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        if (m.rows == 1)
            return share(Axis::columns, m.cols, Reads::own_blocks,
                         [&](Index p, Index q) { one_.scale_rows(factor, m.column_block(p, q)); });
        share(Axis::rows, m.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.scale_rows(factor.block(p, q), m.row_block(p, q)); });
    }
    void copy(In from, Out to) noexcept override {
        share(Axis::rows, to.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.copy(from.row_block(p, q), to.row_block(p, q)); });
    }
    void add(In from, Out to) noexcept override {
        share(Axis::rows, to.rows, Reads::own_blocks,
              [&](Index p, Index q) { one_.add(from.row_block(p, q), to.row_block(p, q)); });
    }
    // Operations on vectors of parameters use the same blocks.
    void reduce(Partials partials, Real beta, VectorOut out) noexcept override {
        share(Axis::columns, out.size, Reads::own_blocks, [&](Index p, Index q) {
            VectorIn parts[Plan::most_parts];
            one_.reduce(block_of(partials, p, q, parts), beta, out.block(p, q));
        });
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        share(Axis::layer_vectors, grad.size, Reads::own_blocks,
              [&](Index p, Index q) { one_.add_penalty(l2, l1, w.block(p, q), grad.block(p, q)); });
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        share_sum(Axis::columns, w.size, out,
                  [&](Index p, Index q, double* sum) { one_.sum_of_squares(w.block(p, q), largest, sum); });
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override {
        share_sum(Axis::columns, w.size, out,
                  [&](Index p, Index q, double* sum) { one_.sum_of_magnitudes(w.block(p, q), sum); });
    }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        one_.clip_factor(squares, largest, limit, factor);
    }
    void largest_magnitude(In m, double* out) noexcept override {
        *out = share_maximum(Axis::columns, m.cols, *out, [&](Index p, Index q) {
            double largest = 0;
            one_.largest_magnitude(m.column_block(p, q), &largest);
            return largest;
        });
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override {
        *place = Index(share_maximum(Axis::columns, v.size, -1, [&](Index p, Index q) {
            Index found = -1;
            one_.find_larger(v.block(p, q), limit, &found);
            return found < 0 ? -1.0 : double(p + found);
        }));
    }
    void clear(double* slot) noexcept override { one_.clear(slot); }
    void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                       StepScalars* now) noexcept override {
        one_.note_gradient(gradient, place, entry, ledger, now);
    }
    void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) noexcept override {
        one_.note_loss(parts, entry, ledger, now);
    }
    void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                      Ledger* ledger) noexcept override {
        one_.note_penalty(squares, magnitudes, l2, l1, entry, ledger);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        share(Axis::columns, params.size, Reads::own_blocks, [&](Index p, Index q) {
            VectorIn parts[Plan::most_parts];
            VectorOut state[most_moments];
            for (std::size_t k = 0; k < moments.size(); ++k) state[k] = moments[k].block(p, q);
            one_.update(rule, now, block_of(gradient, p, q, parts), params.block(p, q), {state, moments.size()});
        });
    }

    void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In partial_sum,
                         const LayerValues<Real>& out) noexcept override {
        if (in.csr != nullptr || !partial_sum.empty())
            return Operations<Real>::affine_activate(layer, in, partial_sum, out);
        const bool needs_rows = couples_columns(layer.g.kind), narrow = is_narrow(out.x.cols);
        if (plan_.cuts_inner(in.dense.cols))
            return needs_rows || narrow ? add_products_by_rows(layer, in.dense, out)
                                        : add_products_by_columns(layer, in.dense, out);
        if (narrow)
            return share(Axis::rows, out.x.rows, Reads::own_blocks, [&](Index p, Index q) {
                one_.affine_activate(layer, {in.dense.row_block(p, q)}, {}, out.row_block(p, q));
            });
        if (needs_rows) return Operations<Real>::affine_activate(layer, in, partial_sum, out);
        share(Axis::columns, out.x.cols, Reads::all_blocks, [&](Index p, Index q) {
            one_.affine_activate({layer.w.column_block(p, q), layer.b.block(p, q), layer.g}, in, {},
                                 out.column_block(p, q));
        });
    }
    void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept override {
        if (is_narrow(below.delta.cols))
            return share(Axis::rows, delta.rows, Reads::own_blocks, [&](Index p, Index q) {
                one_.propagate_delta(above, delta.row_block(p, q), g, below.row_block(p, q));
            });
        share(Axis::columns, below.delta.cols, Reads::all_blocks, [&](Index p, Index q) {
            one_.propagate_delta({above.w.row_block(p, q), above.b, above.g}, delta, g, below.column_block(p, q));
        });
    }
    // A block here is a part of every layer, split as the blocks written last. So each member reads only what it wrote
    // itself or what all can read, and one barrier is enough.
    void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) noexcept override {
        if (written_.axis == Axis::mixed) wait_for_team();
        const bool by_columns = written_.axis == Axis::columns;
        const unsigned phase = barrier_.phase();
        for (int k = member_; k < plan_.parts; k += barrier_.team()) {
            Magnitudes own;
            for (std::size_t l = 0; l < pass.layer.size(); ++l) {
                const Matrix<Real> delta = pass.layer[l].delta;
                one_.largest_magnitude(block_of(delta, k, by_columns), &own.delta);
                const Input<Real> in = pass.input(Index(l));
                if (in.csr == nullptr) one_.largest_magnitude(block_of(in.dense, k, by_columns), &own.x);
                if (in.csr != nullptr) one_.largest_magnitude(in.csr->kept_numbers(), &own.x);
            }
            sums_.numbers(phase, k)[0] = own.x;
            sums_.numbers(phase, k)[1] = own.delta;
        }
        wait_for_team();
        for (int k = 0; k < plan_.parts; ++k) {
            out->x = std::max(out->x, sums_.numbers(phase, k)[0]);
            out->delta = std::max(out->delta, sums_.numbers(phase, k)[1]);
        }
    }
    // Split as (1) reads w in the next step: by rows, or by columns if there are many.
    void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept override {
        const bool by_columns =
            in.csr != nullptr || (!plan_.cuts_inner(in.dense.cols) && delta.cols >= 2 * Plan::grain * plan_.parts);
        share(Axis::gradients, delta.cols, reads_for_gradient(sink.w, by_columns), [&](Index p, Index q) {
            const Matrix<Real> w = by_columns ? sink.w.column_block(p, q) : Matrix<Real>{};
            one_.accumulate_gradients(in, delta.column_block(p, q),
                                      {w, sink.b.block(p, q), sink.blend_w, sink.blend_b});
        });
        const Index rows = by_columns || sink.w.empty() ? 0 : sink.w.rows;
        share(Axis::gradients, rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.accumulate_gradients({in.dense.column_block(p, q)}, delta,
                                      {sink.w.row_block(p, q), {}, sink.blend_w, sink.blend_b});
        });
    }

    // By rows of w alone: a step needs them whole.
    void step_layer(const Input<Real>& in, In delta, const LayerSink<Real>& sink,
                    const LayerStep<Real>& step) noexcept override {
        share(Axis::gradients, sink.b.size, Reads::own_blocks, [&](Index p, Index q) {
            one_.step_layer({}, delta.column_block(p, q), {{}, sink.b.block(p, q), sink.blend_w, sink.blend_b},
                            step.part_of_b(p, q));
        });
        share(Axis::gradients, sink.w.rows, Reads::own_blocks, [&](Index p, Index q) {
            one_.step_layer({in.dense.column_block(p, q)}, delta,
                            {sink.w.row_block(p, q), {}, sink.blend_w, sink.blend_b}, step.rows_of_w(p, q));
        });
    }

  private:
    // Block k of all rows or columns, as `share` splits them.
    In block_of(In m, int k, bool by_columns) const {
        const Cut cut{by_columns ? m.cols : m.rows, Plan::grain, plan_.parts};
        const Index p = cut.edge(k), q = cut.edge(k + 1);
        return by_columns ? m.column_block(p, q) : m.row_block(p, q);
    }

    static Partials block_of(Partials partials, Index p, Index q, VectorIn* blocks) {
        for (std::size_t k = 0; k < partials.size(); ++k) blocks[k] = partials[k].block(p, q);
        return {blocks, partials.size()};
    }

    // What (5) reads of other members' blocks: some if it adds to the gradient of the operation before it along another
    // axis of w, as a tangent of x and a compressed x do.
    Reads reads_for_gradient(In w, bool by_columns) {
        const bool changes_axis = !w.empty() && w.data == gradient_ && by_columns != gradient_by_columns_;
        gradient_ = w.data;
        gradient_by_columns_ = by_columns;
        return changes_axis ? Reads::all_blocks : Reads::own_blocks;
    }

    // (1)(2) with x and w split along the dimension that the product sums over, for a g that needs whole rows or a
    // narrow layer. The first block's product is s itself.
    void add_products_by_rows(const Layer<Real>& layer, In x, const LayerValues<Real>& out) {
        const auto product = [&](unsigned phase, int k) {
            return k == 0 ? out.s : sums_.product(phase, k, out.s.rows, out.s.cols);
        };
        share(Axis::columns, x.cols, Reads::own_blocks, [&](Index p, Index q, int k) {
            one_.gemm(1, x.column_block(p, q), layer.w.row_block(p, q), 0, product(barrier_.phase(), k));
        });
        const unsigned phase = barrier_.phase();
        share(Axis::rows, out.x.rows, Reads::all_blocks, [&](Index p, Index q) {
            for (int k = 1; k < plan_.parts; ++k) one_.add(product(phase, k).row_block(p, q), out.s.row_block(p, q));
            one_.activate_and_drop(layer.g, layer.b, out.row_block(p, q));
        });
    }

    // The same for wide layers. Each block of inputs first computes its part of the other blocks' columns. It completes
    // its own columns with the parts of the others, which are then fetched while it multiplies.
    void add_products_by_columns(const Layer<Real>& layer, In x, const LayerValues<Real>& out) {
        const Index rows = out.s.rows, cols = out.s.cols;
        const Cut inputs{x.cols, Plan::grain, plan_.parts}, columns{cols, Plan::grain, plan_.parts};
        share(Axis::columns, x.cols, Reads::own_blocks, [&](Index p, Index q, int k) {
            const In x_part = x.column_block(p, q), w_part = layer.w.row_block(p, q);
            const auto part_of_others = [&](Index begin, Index end, int slot) {
                if (begin < end)
                    one_.gemm(1, x_part, w_part.column_block(begin, end), 0,
                              sums_.product(barrier_.phase(), slot, rows, cols).column_block(begin, end));
            };
            part_of_others(0, columns.edge(k), k);
            part_of_others(columns.edge(k + 1), cols, k + 1);
        });
        const unsigned phase = barrier_.phase();
        share(Axis::columns, cols, Reads::all_blocks, [&](Index begin, Index end, int k) {
            const Index p = inputs.edge(k), q = inputs.edge(k + 1);
            const Out partial_sum = sums_.product(phase, 1, rows, cols).column_block(begin, end);
            for (int slot = 2; slot < plan_.parts; ++slot)
                one_.add(sums_.product(phase, slot, rows, cols).column_block(begin, end), partial_sum);
            one_.affine_activate({layer.w.row_block(p, q).column_block(begin, end), layer.b.block(begin, end), layer.g},
                                 {x.column_block(p, q)}, partial_sum, out.column_block(begin, end));
        });
    }

    const Real* gradient_ = nullptr;  // of the last accumulate_gradients, and how it was split
    bool gradient_by_columns_ = false;
    Operations<Real>& one_;
};

}  // namespace fastbp
