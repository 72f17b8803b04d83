// A small network with data, for the drivers: deterministic numbers, no random library.
#pragma once

#include <cstdint>
#include <vector>

#include "fastbp/fastbp.hpp"

namespace fastbp::test {

struct Example {
    std::vector<std::int64_t> widths{13, 24, 17, 5};
    std::vector<fastbp_activation> g{FASTBP_TANH, FASTBP_GELU, FASTBP_SOFTMAX};
    std::int64_t rows;
    std::vector<double> X, params;
    std::vector<std::int32_t> y;

    explicit Example(std::int64_t n) : rows(n) {
        std::uint64_t state = 12345;
        const auto next = [&] {  // xorshift64*: Vigna 2016
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            return double((state * 2685821657736338717ull) >> 11) / 9007199254740992.0 - 0.5;
        };
        for (std::int64_t i = 0; i < n * widths[0]; ++i) X.push_back(next());
        for (std::int64_t i = 0; i < n; ++i) y.push_back(std::int32_t((next() + 0.5) * 5));
        for (std::size_t l = 0; l + 1 < widths.size(); ++l)
            for (std::int64_t i = 0; i < (widths[l] + 1) * widths[l + 1]; ++i) params.push_back(next());
    }
    fastbp_net_spec spec() const {
        fastbp_net_spec spec = spec_for(FASTBP_FLOAT64);
        spec.layers = std::int32_t(g.size());
        spec.widths = widths.data();
        spec.activations = reinterpret_cast<const std::int32_t*>(g.data());
        spec.loss = FASTBP_CROSS_ENTROPY;
        return spec;
    }
    Net<double> net() const { return Net<double>(spec()); }
    fastbp_array x() const { return fastbp::rows(X.data(), rows, widths[0]); }
    fastbp_array classes() const { return labels(y.data(), rows); }
};

}  // namespace fastbp::test
