#include "execution/weights.hpp"

#include <algorithm>

#include "execution/numbers.hpp"

namespace fastbp {

double weight_of(const RowSource& weights, RowRange rows) {
    if (weights.empty()) return double(rows.count);
    double sum = 0;
    for_each_number(weights, rows, [&](Index, Index, double c) { sum += c; });
    return sum / double(weights.cols);
}

}  // namespace fastbp
