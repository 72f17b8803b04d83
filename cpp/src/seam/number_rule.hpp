// The rule that the numbers of a target, or weights, must obey. Plain data; its functions may be called on a device.
#pragma once

#include "seam/views.hpp"

namespace fastbp {

struct NumberRule {
    double low = 0, high = 1;  // both included; NaN never fits
    bool whole = false;
    bool rows_sum_to_one = false;  // as near as rounded probabilities do

    constexpr bool fits(double value) const {
        return value >= low && value <= high && (!whole || value == double(Index(value)));
    }
    static constexpr bool sum_fits(double sum) { return sum >= 1 - 1e-3 && sum <= 1 + 1e-3; }
};

}  // namespace fastbp
