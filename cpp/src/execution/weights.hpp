// Sums over sample weights, which turn sums into means.
#pragma once

#include "seam/views.hpp"

namespace fastbp {

// The sum of c_n over the rows, where c has a column per output divided by their number; the number of rows where there
// are no weights.
double weight_of(const RowSource& weights, RowRange rows);

}  // namespace fastbp
