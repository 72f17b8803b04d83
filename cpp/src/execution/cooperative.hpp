// Several threads, one pass: a decorator that gives each member of a team its blocks of every operation.
//
// Every member runs the same algorithm over its own Cooperative. An output is cut into `blocks` at places that depend
// on its size and the plan alone; member m of a team of T does blocks m, m + T, ... So the bits depend on the plan,
// never on how many turned up. A barrier follows each operation whose output another member may read, and none where it
// may not.
#pragma once

#include <algorithm>

#include "execution/barrier.hpp"
#include "seam/backend.hpp"

namespace fastbp {

// Block k of `blocks` over n rows or columns: edges are multiples of `grain`, so that tail kernels meet the same
// columns whatever the team.
struct Cut {
    Index n, grain;
    int blocks;

    Index edge(int k) const {
        const Index grains = (n + grain - 1) / grain;
        return std::min(n, grain * (grains * k / blocks));
    }
};

template <class Real>
class Cooperative final : public Backend<Real> {
  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::VectorIn;
    using typename Backend<Real>::VectorOut;
    using typename Backend<Real>::G;
    using typename Backend<Real>::Partials;
    using Loss = LossFunction<Real>;

    // `partial_sums`: one double per block, shared by the team.
    Cooperative(Backend<Real>& one, Barrier& barrier, int member, int blocks, double* partial_sums)
        : one_(one), barrier_(barrier), member_(member), blocks_(blocks), partial_sums_(partial_sums) {}

    void meet() noexcept override { barrier_.meet(); }
    const char* name() const noexcept override { return one_.name(); }
    void* allocate(std::size_t bytes) noexcept override { return one_.allocate(bytes); }
    void release(void* memory) noexcept override { one_.release(memory); }
    void upload(const void* from, void* to, std::size_t bytes) noexcept override {
        alone([&] { one_.upload(from, to, bytes); });
    }
    void download(const void* from, void* to, std::size_t bytes) noexcept override {
        alone([&] { one_.download(from, to, bytes); });
    }

    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override {
        shared(tile.rows, [&](Index p, Index q) { one_.load_rows(source, rows.block(p, q), tile.row_block(p, q)); });
    }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        shared(tile.rows, [&](Index p, Index q) { one_.load_weights(source, rows.block(p, q), tile.row_block(p, q)); });
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        shared(tile.size, [&](Index p, Index q) { one_.load_classes(source, rows.block(p, q), tile.block(p, q)); });
    }

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        shared(c.cols,
               [&](Index p, Index q) { one_.gemm(alpha, a, b.column_block(p, q), beta, c.column_block(p, q)); });
    }
    void sparse_gemm(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        shared(c.rows,
               [&](Index p, Index q) { one_.sparse_gemm(alpha, a.row_block(p, q), b, beta, c.row_block(p, q)); });
    }
    void sparse_gemm_transposed(Real alpha, const Csr<Real>& a, In b, Real beta, Out c) noexcept override {
        shared(c.cols, [&](Index p, Index q) {
            one_.sparse_gemm_transposed(alpha, a, b.column_block(p, q), beta, c.column_block(p, q));
        });
    }
    // The elementwise operations go by rows: softmax needs whole ones.
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        shared(x.rows, [&](Index p, Index q) { one_.activate(g, b, s.row_block(p, q), x.row_block(p, q)); });
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        shared(delta.rows, [&](Index p, Index q) {
            one_.multiply_by_derivative(g, s.row_block(p, q), x.row_block(p, q), delta.row_block(p, q));
        });
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        summed(x.rows, slots.sum, [&](Index p, Index q, double* sum) {
            one_.output_delta(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q), delta.row_block(p, q),
                              {sum, slots.example.block(p, q)});
        });
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        shared(to.rows,
               [&](Index p, Index q) { one_.drop(dropout.row_block(p, q), from.row_block(p, q), to.row_block(p, q)); });
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        shared(x_dot.rows, [&](Index p, Index q) {
            one_.activate_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q),
                                  x_dot.row_block(p, q));
        });
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        shared(delta_dot.rows, [&](Index p, Index q) {
            one_.derivative_tangent(g, s.row_block(p, q), x.row_block(p, q), s_dot.row_block(p, q), u.row_block(p, q),
                                    delta_dot.row_block(p, q));
        });
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot,
                              Out delta_dot) noexcept override {
        shared(x.rows, [&](Index p, Index q) {
            one_.output_delta_tangent(loss, g, s.row_block(p, q), x.row_block(p, q), y.row_block(p, q),
                                      s_dot.row_block(p, q), delta_dot.row_block(p, q));
        });
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        shared(b.size,
               [&](Index p, Index q) { one_.column_sums(alpha, delta.column_block(p, q), beta, b.block(p, q)); });
    }
    void row_square_sums(In m, bool accumulate, Vector<double> out) noexcept override {
        shared(out.size,
               [&](Index p, Index q) { one_.row_square_sums(m.row_block(p, q), accumulate, out.block(p, q)); });
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        shared(m.rows, [&](Index p, Index q) { one_.scale_rows(factor.block(p, q), m.row_block(p, q)); });
    }
    void copy(In from, Out to) noexcept override {
        shared(to.rows, [&](Index p, Index q) { one_.copy(from.row_block(p, q), to.row_block(p, q)); });
    }
    void reduce(Partials partials, Real beta, VectorOut out) noexcept override {
        shared(out.size, [&](Index p, Index q) {
            VectorIn parts[most_partials];
            one_.reduce(block_of(partials, p, q, parts), beta, out.block(p, q));
        });
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        shared(grad.size, [&](Index p, Index q) { one_.add_penalty(l2, l1, w.block(p, q), grad.block(p, q)); });
    }
    void sum_of_squares(VectorIn w, double* out) noexcept override {
        summed(w.size, out, [&](Index p, Index q, double* sum) { one_.sum_of_squares(w.block(p, q), sum); });
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override {
        summed(w.size, out, [&](Index p, Index q, double* sum) { one_.sum_of_magnitudes(w.block(p, q), sum); });
    }
    void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        shared(params.size, [&](Index p, Index q) {
            VectorIn parts[most_partials];
            VectorOut state[most_moments];
            for (std::size_t k = 0; k < moments.size(); ++k) state[k] = moments[k].block(p, q);
            one_.update(rule, now, block_of(gradient, p, q, parts), params.block(p, q), {state, moments.size()});
        });
    }

    // One barrier for an equation instead of one for each primitive.
    void affine_activate(const Layer<Real>& layer, const Input<Real>& in,
                         const LayerValues<Real>& out) noexcept override {
        if (in.csr != nullptr || layer.g.kind == Activation::softmax)  // (2) needs whole rows
            return Backend<Real>::affine_activate(layer, in, out);
        shared(out.x.cols, [&](Index p, Index q) {
            one_.affine_activate({layer.w.column_block(p, q), layer.b.block(p, q), layer.g}, in,
                                 out.column_block(p, q));
        });
    }
    void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept override {
        shared(below.delta.cols, [&](Index p, Index q) {
            one_.propagate_delta({above.w.row_block(p, q), above.b, above.g}, delta, g, below.column_block(p, q));
        });
    }
    // No barrier: every delta is complete, and nobody reads what is written here before the pass ends. Wide layers are
    // cut by columns of w, as in (1): what a member writes is then what it reads in the next step, and the largest of
    // matrices stay in the cache of their processor. Narrow ones are cut by rows.
    void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept override {
        const bool by_columns = in.csr != nullptr || delta.cols >= 2 * grain * blocks_;
        const bool by_rows = !by_columns && !sink.w.empty();
        each(delta.cols, [&](Index p, Index q, int) {
            const Matrix<Real> w = by_columns ? sink.w.column_block(p, q) : Matrix<Real>{};
            one_.accumulate_gradients(in, delta.column_block(p, q),
                                      {w, sink.b.block(p, q), sink.blend_w, sink.blend_b});
        });
        each(by_rows ? sink.w.rows : 0, [&](Index p, Index q, int) {
            one_.accumulate_gradients({in.dense.column_block(p, q)}, delta,
                                      {sink.w.row_block(p, q), {}, sink.blend_w, sink.blend_b});
        });
    }

  private:
    static constexpr Index grain = 16;  // one vector of floats
    static constexpr std::size_t most_partials = 64, most_moments = 8;

    static Partials block_of(Partials partials, Index p, Index q, VectorIn* blocks) {
        for (std::size_t k = 0; k < partials.size(); ++k) blocks[k] = partials[k].block(p, q);
        return {blocks, partials.size()};
    }

    template <class Body>
    void each_block(Index n, Body body) {
        const Cut cut{n, grain, blocks_};
        for (int k = 0; k < blocks_; ++k)
            if (cut.edge(k) < cut.edge(k + 1)) body(cut.edge(k), cut.edge(k + 1), k);
    }
    // My blocks.
    template <class Body>
    void each(Index n, Body body) {
        each_block(n, [&](Index p, Index q, int k) {
            if (k % barrier_.team() == member_) body(p, q, k);
        });
    }
    template <class Body>
    void shared(Index n, Body body) {
        each(n, [&](Index p, Index q, int) { body(p, q); });
        meet();
    }
    // A sum of blocks, added in their order.
    template <class Body>
    void summed(Index n, double* out, Body body) {
        each(n, [&](Index p, Index q, int k) {
            partial_sums_[k] = 0;
            body(p, q, partial_sums_ + k);
        });
        meet();
        if (member_ == 0) each_block(n, [&](Index, Index, int k) { *out += partial_sums_[k]; });
        meet();
    }
    // What is too small to share is done by the first member.
    template <class Body>
    void alone(Body body) {
        if (member_ == 0) body();
        meet();
    }

    Backend<Real>& one_;
    Barrier& barrier_;
    const int member_, blocks_;
    double* const partial_sums_;
};

}  // namespace fastbp
