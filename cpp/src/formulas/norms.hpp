// Penalties, and norms of gradients.
#pragma once

#include <cmath>

#include "formulas/steps.hpp"

namespace fastbp::formulas {

// d/dv of l2 v^2 / 2 + l1 abs(v); 0 at the kink.
template <class Real>
FASTBP_FORMULA Real penalty_slope(Real v, Real l2, Real l1) {
    const Real sign = v > 0 ? Real(1) : (v < 0 ? Real(-1) : v);
    return l2 * v + l1 * sign;
}

// The norm of one example's gradient. `squares` is of the weighted gradient, and `weight` is divided out.
FASTBP_FORMULA double example_norm(double squares, double weight) {
    return weight == 0 ? 0.0 : square_root(squares) / magnitude(weight);
}

// The factor that scales an example down to the limit. It is 0 for a norm of NaN or inf, which leaves the example out.
FASTBP_FORMULA double example_factor(double norm, double limit) {
    return norm <= limit ? 1.0 : norm < HUGE_VAL ? limit / norm : 0.0;
}

// The unit in which a norm is computed, so that no square of a finite number overflows. `largest` bounds the numbers;
// it is null if no square can overflow.
FASTBP_FORMULA double norm_unit(const double* largest) {
    return largest != nullptr && *largest > 0x1p480 ? 0x1p540 : 1.0;
}

// The factor that clips a whole gradient, as torch's clip_grad_norm_.
FASTBP_FORMULA double clip_factor(double squares, double unit, double limit) {
    return ::fmin(limit / unit / (square_root(squares) + 1e-6 / unit), 1.0);
}

}  // namespace fastbp::formulas
