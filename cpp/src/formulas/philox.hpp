// Philox4x32-10, a counter-based random number generator: Salmon, Moraes, Dror and Shaw 2011. A number is a function of
// its position, so no state is stored and tiles, blocks and threads change nothing.
#pragma once

#include <cstdint>

#include "formulas/elementary.hpp"

namespace fastbp::formulas {

// The first of the four words for the counter (unit, row, step, layer) and the key.
FASTBP_FORMULA std::uint32_t philox(std::uint32_t unit, std::uint32_t row, std::uint32_t step, std::uint32_t layer,
                                    std::uint32_t key0, std::uint32_t key1) {
    std::uint32_t c0 = unit, c1 = row, c2 = step, c3 = layer;
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c0, p1 = std::uint64_t(0xCD9E8D57u) * c2;
        const std::uint32_t n0 = std::uint32_t(p1 >> 32) ^ c1 ^ key0, n2 = std::uint32_t(p0 >> 32) ^ c3 ^ key1;
        c1 = std::uint32_t(p1);
        c3 = std::uint32_t(p0);
        c0 = n0;
        c2 = n2;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return c0;
}

}  // namespace fastbp::formulas
