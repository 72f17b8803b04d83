// Dropout: Srivastava et al. 2014, with the kept values scaled up so that evaluation needs no change.
#pragma once

#include "formulas/philox.hpp"

namespace fastbp::formulas {

template <class Real>
struct DropoutNumbers {
    std::uint32_t step, layer, key0, key1, kept_below;
    Real scale;
};

template <class Real>
FASTBP_FORMULA DropoutNumbers<Real> dropout_numbers(double keep, std::uint64_t seed, std::int64_t step,
                                                    std::uint32_t layer) {
    return {
        std::uint32_t(step), layer, std::uint32_t(seed), std::uint32_t(seed >> 32), std::uint32_t(keep * 4294967295.0),
        Real(1 / keep)};
}

// value / keep if the unit is kept in this row, else 0.
template <class Real>
FASTBP_FORMULA Real dropped(const DropoutNumbers<Real>& k, std::uint32_t unit, std::uint32_t row, Real value) {
    const bool kept = philox(unit, row, k.step, k.layer, k.key0, k.key1) <= k.kept_below;
    return kept ? value * k.scale : Real(0);
}

}  // namespace fastbp::formulas
