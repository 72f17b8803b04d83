// Visit the numbers of an array in the process's memory in order, whatever their type. It serves checks of targets and
// weights, whose cost is small beside the work that follows.
#pragma once

#include <algorithm>

#include "seam/load_rows.hpp"
#include "seam/number_rule.hpp"

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

// Implementations of Backend::count_misfits and Backend::sum_weights.
inline Index count_misfits(const RowSource& numbers, const NumberRule& rule) {
    const RowRange all{nullptr, 0, numbers.rows};
    Index misfits = 0;
    for_each_number(numbers, all, [&misfits, known = rule](Index, Index, double value) {
        if (!known.fits(value)) ++misfits;
    });
    double sum = 0;
    if (rule.rows_sum_to_one)
        for_each_number(numbers, all, [&](Index, Index j, double value) {
            sum = (j == 0 ? 0.0 : sum) + value;
            if (j + 1 == numbers.cols && !rule.sum_fits(sum)) ++misfits;
        });
    return misfits;
}

inline void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) {
    for (Index begin = 0; begin < rows.count; begin += batch) {
        double sum = 0;
        for_each_number(c, rows.block(begin, std::min(begin + batch, rows.count)),
                        [&](Index, Index, double value) { sum += value; });
        *sums++ = sum / double(c.cols);
    }
}

}  // namespace fastbp
