// Sums over sample weights, which turn sums into means.
#pragma once

#include <algorithm>

#include "seam/backend.hpp"

namespace fastbp {

// The sum of c_n over the rows, where c has a column per output divided by their number; the number of rows where there
// are no weights.
template <class Real>
double weight_of(Backend<Real>& on, const RowSource& weights, RowRange rows) {
    if (weights.empty()) return double(rows.count);
    constexpr Index at_a_time = 4096, most = 16;  // a device sums so many rows at different places at once
    double total = 0;
    for (Index begin = 0; begin < rows.count; begin += most * at_a_time) {
        double sums[most] = {};
        const Index end = std::min(begin + most * at_a_time, rows.count);
        on.sum_weights(weights, rows.block(begin, end), at_a_time, sums);
        for (Index k = 0; k * at_a_time < end - begin; ++k) total += sums[k];
    }
    return total;
}

}  // namespace fastbp
