// The part beta target of a blend target = beta target + ..
#pragma once

#include "formulas/elementary.hpp"

namespace fastbp::formulas {

// beta old. If beta is 0, the result is 0 and does not depend on `old`, which may be NaN.
template <class Real>
FASTBP_FORMULA Real kept(Real beta, const Real& old) {
    return beta == 0 ? Real(0) : beta * old;
}

}  // namespace fastbp::formulas
