#include "backend/cpu/cpu.hpp"

#include <algorithm>
#include <climits>

#include "backend/cpu/blas.hpp"
#include "backend/cpu/isa.hpp"
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

    Cpu(const LoopTable<Real>& loops, const cpu::Blas& blas)
        : LoopBackend<Real>(loops, "cpu"), loops_(loops), blas_(blas), gemm_(blas.gemm(Real())) {}

    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        if (c.empty() || c.rows == 0 || c.cols == 0) return;
        if (gemm_ == nullptr || a.cols == 0 || loops_.gemm_is_faster_than_blas(a, b, c))
            return loops_.gemm(alpha, a, b, beta, c);
        blas_.hold_to_one_thread();
        // Row-major c = a b is column-major c^T = b^T a^T.
        if (c.col_stride == 1)
            column_major(alpha, b.transposed(), a.transposed(), beta, c.transposed());
        else
            column_major(alpha, a, b, beta, c);
    }

  private:
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
};

}  // namespace

template <class Real>
std::unique_ptr<Backend<Real>> make_cpu_backend() {
    return std::make_unique<Cpu<Real>>(cpu::isa().loops(Real()), cpu::blas());
}

template std::unique_ptr<Backend<float>> make_cpu_backend();
template std::unique_ptr<Backend<double>> make_cpu_backend();

}  // namespace fastbp
