// Reads the numbers of a caller's array one after the other, whatever their type: for checks and sums over targets and
// weights, which are small beside the work that follows.
#pragma once

#include <algorithm>
#include <vector>

#include "seam/load_rows.hpp"

namespace fastbp {

// body(row, column, value) for the given rows, in order.
template <class Body>
void for_each_number(const RowSource& source, RowRange rows, Body body) {
    constexpr Index chunk = 64;
    double numbers[chunk];
    if (source.cols == 1) {
        for (Index begin = 0; begin < rows.count; begin += chunk) {
            const Index n = std::min(chunk, rows.count - begin);
            load_rows(source, rows.block(begin, begin + n), Matrix<double>{numbers, n, 1, 1, 1});
            for (Index i = 0; i < n; ++i) body(begin + i, Index(0), numbers[i]);
        }
        return;
    }
    for (Index i = 0; i < rows.count; ++i)
        for (Index begin = 0; begin < source.cols; begin += chunk) {
            const Index n = std::min(chunk, source.cols - begin);
            load_rows(source.from_column(begin), rows.block(i, i + 1), Matrix<double>{numbers, 1, n, n, 1});
            for (Index j = 0; j < n; ++j) body(i, begin + j, numbers[j]);
        }
}

}  // namespace fastbp
