// Dropout over blocks: Srivastava et al. 2014, with the kept values scaled up so that evaluation needs no change.
#pragma once

#include "backend/loops/blocks.hpp"
#include "formulas/philox.hpp"

namespace fastbp::loops {
namespace {

// to = from / keep where the unit is kept, else 0. from may be to.
template <bool unit, class Real>
void drop(const Dropout& dropout, Matrix<const Real> from, Matrix<Real> to) {
    const Index from_step = step_of<unit>(from), to_step = step_of<unit>(to);
    const std::uint32_t step = std::uint32_t(*dropout.step), key0 = std::uint32_t(dropout.seed);
    const std::uint32_t key1 = std::uint32_t(dropout.seed >> 32), layer = dropout.layer;
    const std::uint32_t kept_below = std::uint32_t(dropout.keep * 4294967295.0);
    const Real scale = Real(1 / dropout.keep);
    for (Index r = 0; r < to.rows; ++r) {
        const std::uint32_t row = std::uint32_t(dropout.rows[r]), first = std::uint32_t(dropout.first_unit);
        const Real* source = row_of(from, r);
        Real* target = row_of(to, r);
        FASTBP_INDEPENDENT
        for (Index j = 0; j < to.cols; ++j) {
            const bool kept = formulas::philox(first + std::uint32_t(j), row, step, layer, key0, key1) <= kept_below;
            target[j * to_step] = kept ? source[j * from_step] * scale : Real(0);
        }
    }
}

}  // namespace
}  // namespace fastbp::loops
