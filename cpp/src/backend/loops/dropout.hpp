// Dropout over blocks.
#pragma once

#include "backend/loops/blocks.hpp"
#include "formulas/dropout.hpp"

namespace fastbp::loops {
namespace {

// to = from / keep if the unit is kept, else 0. to may be from.
template <bool unit, class Real>
void drop(const Dropout& dropout, Matrix<const Real> from, Matrix<Real> to) {
    const Index from_step = step_of<unit>(from), to_step = step_of<unit>(to);
    const auto k = formulas::dropout_numbers<Real>(dropout.keep, dropout.seed, *dropout.step, dropout.layer);
    for (Index r = 0; r < to.rows; ++r) {
        const std::uint32_t row = std::uint32_t(dropout.rows[r]), first = std::uint32_t(dropout.first_unit);
        const Real* source = row_of(from, r);
        Real* target = row_of(to, r);
        FASTBP_INDEPENDENT
        for (Index j = 0; j < to.cols; ++j)
            target[j * to_step] = formulas::dropped(k, first + std::uint32_t(j), row, source[j * from_step]);
    }
}

}  // namespace
}  // namespace fastbp::loops
