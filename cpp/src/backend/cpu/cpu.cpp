#include "backend/cpu/cpu.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "backend/cpu/blas.hpp"
#include "backend/cpu/isa.hpp"
#include "backend/cpu/product_gate.hpp"
#include "backend/loops/loop_backend.hpp"

namespace fastbp {
namespace {

// A view as BLAS sees it: a column-major array, transposed or not, with its leading dimension. `edge` is the least
// that BLAS accepts as one.
template <class T>
struct ColumnMajor {
    char trans;
    int ld;

    explicit ColumnMajor(Matrix<T> m)
        : trans(m.row_stride == 1 && m.col_stride != 1 ? 'N' : 'T'),
          ld(int(std::max<Index>(trans == 'N' ? m.col_stride : m.row_stride,
                                 std::max<Index>(1, trans == 'N' ? m.rows : m.cols)))) {}
};

template <class Real>
class Cpu final : public LoopBackend<Real> {
  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::G;

    Cpu(const LoopTable<Real>& loops, const cpu::Blas& blas)
        : LoopBackend<Real>(loops, "cpu"), loops_(loops), blas_(blas), gemm_(blas.gemm(Real())) {}

    // Large memory asks for huge pages: fewer misses in the table of pages, where products walk down columns.
    void* allocate(std::size_t bytes) noexcept override {
        if (bytes < huge_page) return LoopBackend<Real>::allocate(bytes);
        void* memory = std::aligned_alloc(huge_page, (bytes + huge_page - 1) / huge_page * huge_page);
#ifdef MADV_HUGEPAGE
        if (memory != nullptr) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
        return memory;
    }

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        if (c.empty() || c.rows == 0 || c.cols == 0) return;
        if (gemm_ == nullptr || a.cols == 0 || loops_.faster_than_blas(a, b, c))
            return loops_.gemm(alpha, a, b, beta, c);
        const cpu::ProductGate::Pass pass(gate_);
        if (!pass) return loops_.gemm(alpha, a, b, beta, c);
        blas_.hold_to_one_thread();
        // Row-major c = a b is column-major c^T = b^T a^T.
        if (c.col_stride == 1)
            column_major(alpha, b.transposed(), a.transposed(), beta, c.transposed());
        else
            column_major(alpha, a, b, beta, c);
    }

    // (1)(2): the loops add the bias, and apply relu, before the sums leave the registers.
    void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In partial_sum,
                         const LayerValues<Real>& out) noexcept override {
        if (in.csr != nullptr || out.s.empty() || !loops_.finishes_in_registers(in.dense, layer.w, out.s))
            return Backend<Real>::affine_activate(layer, in, partial_sum, out);
        const bool in_one_place = out.s.data == out.x.data && !out.dropout.active();
        const bool relu = in_one_place && layer.g.kind == Activation::relu;
        loops_.gemm_with_relu(in.dense, layer.w, partial_sum, layer.b, relu, out.s);
        if (relu || (in_one_place && layer.g.kind == Activation::identity)) return;
        this->activate_and_drop(layer.g, {}, out);
    }

    // (4): the same with relu's derivative.
    void propagate_delta(const Layer<Real>& above, In delta, G g, const LayerValues<Real>& below) noexcept override {
        const In w = above.w.transposed();
        if (g.kind != Activation::relu || !below.u.empty() || below.dropout.active() || below.delta.empty() ||
            !loops_.finishes_in_registers(delta, w, below.delta))
            return Backend<Real>::propagate_delta(above, delta, g, below);
        loops_.gemm_with_relu_prime(delta, w, below.x, below.delta);
    }

  private:
    static constexpr std::size_t huge_page = std::size_t(2) << 20;

    // c (m, n), unit row stride.
    void column_major(Real alpha, In a, In b, Real beta, Out c) const noexcept {
        const ColumnMajor left(a), right(b);
        const int m = int(c.rows), n = int(c.cols), k = int(a.cols);
        const int ld = int(std::max<Index>(c.col_stride, c.rows));
        gemm_(&left.trans, &right.trans, &m, &n, &k, &alpha, a.data, &left.ld, b.data, &right.ld, &beta, c.data, &ld);
    }

    const LoopTable<Real>& loops_;
    const cpu::Blas& blas_;
    const cpu::Gemm<Real> gemm_;
    cpu::ProductGate& gate_ = cpu::ProductGate::get();
};

}  // namespace

template <class Real>
std::unique_ptr<Backend<Real>> make_cpu_backend() {
    return std::make_unique<Cpu<Real>>(cpu::isa().loops(Real()), cpu::blas());
}

template std::unique_ptr<Backend<float>> make_cpu_backend();
template std::unique_ptr<Backend<double>> make_cpu_backend();

}  // namespace fastbp
