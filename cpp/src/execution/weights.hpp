// Sums over sample weights, which turn sums into means.
#pragma once

#include <algorithm>

#include "seam/backend.hpp"

namespace fastbp {

constexpr Index weights_at_a_time = 4096;

// The sum of c_n over the rows. If c has a column per output, their sum is divided by the number of outputs. Without
// weights it is the number of rows.
template <class Real>
double weight_of(Backend<Real>& on, const RowSource& weights, RowRange rows) {
    if (weights.empty()) return double(rows.count);
    constexpr Index most = 16;  // a device sums so many parts of rows at the same time
    double total = 0;
    for (Index begin = 0; begin < rows.count; begin += most * weights_at_a_time) {
        double sums[most] = {};
        const Index end = std::min(begin + most * weights_at_a_time, rows.count);
        on.sum_weights(weights, rows.block(begin, end), weights_at_a_time, sums);
        for (Index k = 0; k * weights_at_a_time < end - begin; ++k) total += sums[k];
    }
    return total;
}

}  // namespace fastbp
