// Products with one or two columns, which nets with one or two outputs need. Tiles would leave most lanes of their
// registers empty. Here each lane of a register sums every n-th term of one row times one column, and the lanes are
// added at the end.
#pragma once

#include "backend/loops/tiles.hpp"

namespace fastbp::loops {
namespace {

constexpr Index most_narrow = 2;     // columns
constexpr Index most_copied = 4096;  // numbers of b, on the stack

template <class Real>
inline bool is_narrow(Matrix<const Real> a, Matrix<const Real> b) {
    return b.cols <= most_narrow && a.col_stride == 1 && (b.row_stride == 1 || b.rows * b.cols <= most_copied);
}

// The columns of b, each contiguous, with stride `step` between columns.
template <class Real>
struct Columns {
    const Real* data;
    Index step;

    Columns(Matrix<const Real> b, Real* memory) : data(b.data), step(b.col_stride) {
        if (b.row_stride == 1) return;
        data = memory;
        step = b.rows;
        for (Index k = 0; k < b.rows; ++k)
            for (Index j = 0; j < b.cols; ++j) memory[j * step + k] = b(k, j);
    }
};

template <class Real, int cols>
using LaneSums = typename Vectors<Real>::V[cols][Vectors<Real>::lanes];

// sums[j][at + i] = row i of a times column j, by lanes.
template <int rows, int cols, class Real>
inline void sum_by_lanes(Matrix<const Real> a, Columns<Real> b, LaneSums<Real, cols>& sums, Index at) {
    using S = Vectors<Real>;
    typename S::V sum[rows][cols];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < cols; ++j) sum[i][j] = S::all(0);
    const auto add = [&](auto load) {
        typename S::V column[cols];
#pragma GCC unroll 2
        for (int j = 0; j < cols; ++j) column[j] = load(b.data + j * b.step);
#pragma GCC unroll 4
        for (int i = 0; i < rows; ++i) {
            const typename S::V row = load(row_of(a, i));
#pragma GCC unroll 2
            for (int j = 0; j < cols; ++j) sum[i][j] = S::multiply_add(row, column[j], sum[i][j]);
        }
    };
    Index k = 0;
    for (; k + S::lanes <= a.cols; k += S::lanes) add([=](const Real* from) { return S::load(from + k); });
    if (k < a.cols) add([=, mask = S::first(int(a.cols - k))](const Real* from) { return S::load(from + k, mask); });
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < cols; ++j) sums[j][at + i] = sum[i][j];
}

// transposed(j, i) = (a b)(i, j). The rows of `transposed` are padded to whole vectors.
template <int cols, class Real>
void multiply_columns(Matrix<const Real> a, Columns<Real> b, Matrix<Real> transposed) {
    using S = Vectors<Real>;
    constexpr Index n = S::lanes, together = 4;  // rows, enough sums to hide the latency of an addition
    LaneSums<Real, cols> sums;
#pragma GCC unroll 2
    for (int j = 0; j < cols; ++j)
#pragma GCC unroll 16
        for (int i = 0; i < n; ++i) sums[j][i] = S::all(0);
    for (Index begin = 0; begin < a.rows; begin += n) {
        const Index rows = std::min(a.rows - begin, n);
        for (Index i = 0; i < rows;) {
            const Matrix<const Real> part = a.row_block(begin + i, begin + rows);
            if (part.rows >= together)
                sum_by_lanes<together, cols>(part, b, sums, i), i += together;
            else
                sum_by_lanes<1, cols>(part, b, sums, i), ++i;
        }
        for (int j = 0; j < cols; ++j)
            S::store(&transposed(j, begin), fold_lanes<Real>(sums[j], [](auto u, auto v) { return S::add(u, v); }));
    }
}

template <class Real>
void multiply_narrow(Matrix<const Real> a, Matrix<const Real> b, Matrix<Real> transposed) {
    Real memory[most_copied];
    const Columns<Real> columns(b, memory);
    b.cols == 1 ? multiply_columns<1>(a, columns, transposed) : multiply_columns<2>(a, columns, transposed);
}

}  // namespace
}  // namespace fastbp::loops
