// Helpers of all loops: strides, rows and blocks of a matrix.
#pragma once

#include "formulas/activations.hpp"
#include "formulas/blend.hpp"
#include "formulas/dispatch.hpp"
#include "formulas/losses.hpp"
#include "seam/network.hpp"

namespace fastbp::loops {
namespace {

// The arrays of an elementwise loop are either identical or disjoint.
#define FASTBP_INDEPENDENT _Pragma("GCC ivdep")

using formulas::with_activation;
using formulas::with_loss;
using formulas::with_residual_loss;

// The stride between columns, a constant if the block is known to have unit strides.
template <bool unit, class T>
inline Index step_of(const Matrix<T>& m) {
    return unit ? 1 : m.col_stride;
}

template <class T>
inline T* row_of(const Matrix<T>& m, Index r) {
    return m.data + r * m.row_stride;
}

template <class... T>
inline bool without_gaps(const Matrix<T>&... m) {
    return ((m.empty() || (m.row_stride == m.cols && m.col_stride == 1)) && ...);
}

// The rows and columns to loop over: one long row if no matrix has gaps.
struct Extent {
    Index rows, cols;
};

template <class First, class... T>
inline Extent extent_of(const Matrix<First>& m, const Matrix<T>&... others) {
    if (without_gaps(m, others...)) return {1, m.rows * m.cols};
    return {m.rows, m.cols};
}

constexpr Index outputs_at_a_time = 64;

// The place of a block of outputs in a tile: whole rows if they are narrow, else a part of one row.
struct BlockPlace {
    Index row, rows, column, columns;

    Index size() const { return rows * columns; }
    template <class T>
    Matrix<T> of(const Matrix<T>& m) const {
        return m.row_block(row, row + rows).column_block(column, column + columns);
    }
};

template <class Body>
inline void each_block(Index rows, Index cols, Body body) {
    const Index together = cols < outputs_at_a_time ? outputs_at_a_time / (cols > 0 ? cols : 1) : 1;
    for (Index r = 0; r < rows; r += together)
        for (Index j = 0; j < cols; j += outputs_at_a_time)
            body(BlockPlace{r, rows - r < together ? rows - r : together, j,
                            cols - j < outputs_at_a_time ? cols - j : outputs_at_a_time});
}

}  // namespace
}  // namespace fastbp::loops
