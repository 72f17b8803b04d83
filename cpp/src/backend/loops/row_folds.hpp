// Folds of rows, such as a sum or a maximum, for many rows at a time. Each row is folded into one register. Then the
// lanes of as many registers as there are lanes are folded together.
#pragma once

#include <functional>

#include "backend/loops/blocks.hpp"
#include "backend/loops/vectors.hpp"

namespace fastbp::loops {
namespace {

constexpr Index rows_at_a_time = 16;  // a multiple of every register's lanes

// The n numbers of a row from column j, converted to To. The lanes behind them hold `otherwise`.
template <bool unit, class To, class Real>
inline typename Vectors<To>::V load_part(Matrix<const Real> m, Index r, Index j, Index n,
                                         typename Vectors<To>::V otherwise) {
    using S = Vectors<To>;
    const Real* row = row_of(m, r) + j * step_of<unit>(m);
    if constexpr (unit) return n == S::lanes ? S::load(row) : S::load(row, S::first(int(n)), otherwise);
    To numbers[S::lanes];
    S::store(numbers, otherwise);
    for (Index k = 0; k < n; ++k) numbers[k] = To(row[k * m.col_stride]);
    return S::load(numbers);
}

// out[i] = fold of term(i, j, n): the n numbers of row i from column j, and neutral numbers behind them. `out` has
// rows_at_a_time numbers. Those behind `rows` are undefined.
template <class To, class Term, class Fold>
inline void fold_rows(Index rows, Index cols, Term term, Fold fold, To* out) {
    using S = Vectors<To>;
    for (Index begin = 0; begin < rows; begin += S::lanes) {
        typename S::V part[S::lanes];
        const auto row = [=](Index i) { return begin + i < rows ? begin + i : rows - 1; };
        Index n = cols < S::lanes ? cols : S::lanes;
#pragma GCC unroll 16
        for (Index i = 0; i < S::lanes; ++i) part[i] = term(row(i), 0, n);
        for (Index j = n; j < cols; j += n) {
            n = cols - j < S::lanes ? cols - j : S::lanes;
#pragma GCC unroll 16
            for (Index i = 0; i < S::lanes; ++i) part[i] = fold(part[i], term(row(i), j, n));
        }
        S::store(out + begin, fold_lanes<To>(part, fold));
    }
}

// The maxima of rows `first`, .. of m. NaN may be ignored.
template <bool unit, class Real>
inline void row_maxima(Matrix<const Real> m, Index first, Index rows, Real* out) {
    using S = Vectors<Real>;
    const auto part = [=](Index i, Index j, Index n) {
        return load_part<unit, Real>(m, first + i, j, n, S::all(row_of(m, first + i)[0]));
    };
    fold_rows<Real>(rows, m.cols, part, [](auto a, auto b) { return S::not_below(a, b); }, out);
}

template <bool unit, class Real>
inline void row_sums(Matrix<const Real> m, Index first, Index rows, Real* out) {
    using S = Vectors<Real>;
    const auto part = [=](Index i, Index j, Index n) { return load_part<unit, Real>(m, first + i, j, n, S::all(0)); };
    fold_rows<Real>(rows, m.cols, part, std::plus<>(), out);
}

}  // namespace
}  // namespace fastbp::loops
