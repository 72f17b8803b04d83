// Find numbers that are not finite or too large. Magnitudes are compared as integers: the bits of a number without its
// sign have the order of the magnitudes, and those of nan come last.
#pragma once

#include <bit>
#include <cstring>
#include <utility>

#include "backend/loops/blocks.hpp"
#include "backend/loops/vectors.hpp"

namespace fastbp::loops {
namespace {

template <class Real>
struct Bits;
template <>
struct Bits<float> {
    using Int = std::int32_t;
    typedef Int V __attribute__((vector_size(4 * Vectors<float>::lanes)));
};
template <>
struct Bits<double> {
    using Int = std::int64_t;
    typedef Int V __attribute__((vector_size(8 * Vectors<double>::lanes)));
};

template <class Real>
constexpr typename Bits<Real>::Int without_sign = sizeof(Real) == 4 ? 0x7fffffff : 0x7fffffffffffffff;

template <class Real>
inline typename Bits<Real>::Int magnitude_bits(Real v) {
    return std::bit_cast<typename Bits<Real>::Int>(v) & without_sign<Real>;
}

// The largest magnitude of n numbers that lie one after the other, as bits. The last register may overlap the one
// before it.
template <class Real>
inline typename Bits<Real>::Int largest_bits(const Real* v, Index n) {
    using Int = typename Bits<Real>::Int;
    using V = typename Bits<Real>::V;
    constexpr Index lanes = Vectors<Real>::lanes;
    Int largest = 0;
    if (n < lanes) {
        for (Index i = 0; i < n; ++i) largest = magnitude_bits(v[i]) > largest ? magnitude_bits(v[i]) : largest;
        return largest;
    }
    V best[4] = {};
    const auto look = [&](V& most, Index i) {
        V bits;
        std::memcpy(&bits, v + i, sizeof bits);
        bits &= without_sign<Real>;
        most = bits > most ? bits : most;
    };
    Index i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
        look(best[0], i);
        look(best[1], i + lanes);
        look(best[2], i + 2 * lanes);
        look(best[3], i + 3 * lanes);
    }
    for (; i + lanes <= n; i += lanes) look(best[0], i);
    look(best[1], n - lanes);
    best[0] = best[0] > best[1] ? best[0] : best[1];
    best[2] = best[2] > best[3] ? best[2] : best[3];
    best[0] = best[0] > best[2] ? best[0] : best[2];
    for (Index lane = 0; lane < lanes; ++lane) largest = best[0][lane] > largest ? best[0][lane] : largest;
    return largest;
}

template <class Real>
void largest_magnitude(Matrix<const Real> m, double* out) {
    if (m.row_stride == 1 && m.col_stride != 1) m = m.transposed();
    typename Bits<Real>::Int largest = 0;
    const auto look = [&](typename Bits<Real>::Int bits) { largest = bits > largest ? bits : largest; };
    const Extent extent = extent_of(m);
    for (Index r = 0; r < extent.rows; ++r) {
        const Real* row = row_of(m, r);
        if (m.col_stride == 1)
            look(largest_bits(row, extent.cols));
        else
            for (Index j = 0; j < extent.cols; ++j) look(magnitude_bits(row[j * m.col_stride]));
    }
    const double found = double(std::bit_cast<Real>(largest));
    if (!(found <= *out)) *out = found < __builtin_huge_val() ? found : __builtin_huge_val();
}

template <class Real>
void find_larger(Vector<const Real> v, double limit, Index* place) {
    constexpr Index block = 1024;
    const typename Bits<Real>::Int most = magnitude_bits(Real(limit));
    *place = -1;
    for (Index end = v.size; end > 0; end -= block) {
        const Index begin = end > block ? end - block : 0;
        if (largest_bits(v.data + begin, end - begin) <= most) continue;
        for (*place = end - 1; magnitude_bits(v.data[*place]) <= most; --*place) {
        }
        return;
    }
}

// ---- bounds for a pass -----------------------------------------------------------------------------------------

// Numbers as 32-bit words. The upper word of a number has its sign, its exponent and enough of its fraction for a
// bound.
typedef std::uint32_t WordVector __attribute__((vector_size(sizeof(Vectors<float>::V))));

template <class Real>
struct Words {
    using V = WordVector;
    static constexpr int lanes = Vectors<Real>::lanes, in_number = sizeof(Real) / 4;
    static constexpr std::uint32_t sign = 0x80000000U, two = 0x40000000U;

    // Folds the upper words of v into each lane.
    template <class Fold, int... lane>
    static V fold_halves(V v, Fold fold, auto distance, std::integer_sequence<int, lane...> all) {
        constexpr int d = decltype(distance)::value;
        v = fold(v, __builtin_shufflevector(v, v, (lane ^ d)...));
        if constexpr (d > in_number) return fold_halves(v, fold, std::integral_constant<int, d / 2>(), all);
        return v;
    }
    template <class Fold>
    static std::uint32_t fold_lanes(V v, Fold fold) {
        constexpr int words = lanes * in_number;
        return fold_halves(v, fold, std::integral_constant<int, words / 2>(),
                           std::make_integer_sequence<int, words>())[in_number - 1];
    }
    // No number with this upper word has a larger magnitude; inf for nan.
    static double bound(std::uint32_t word) {
        double most;
        if constexpr (in_number == 1)
            most = double(std::bit_cast<float>(word & ~sign));
        else
            most = std::bit_cast<double>(std::uint64_t(word & ~sign) << 32 | 0xffffffffU);
        return most < __builtin_huge_val() ? most : __builtin_huge_val();
    }
};

struct EitherBit {
    template <class T>
    T operator()(T a, T b) const {
        return a | b;
    }
};
struct Larger {
    template <class T>
    T operator()(T a, T b) const {
        return a > b ? a : b;
    }
};
struct LargerMagnitude {
    template <class T>
    T operator()(T a, T b) const {
        b &= ~Words<float>::sign;
        return a > b ? a : b;
    }
};

// Folds all numbers of m into the lanes of `seen`. The last register may overlap the one before it.
template <class Real, class Fold>
inline void fold_words(Matrix<const Real> m, typename Words<Real>::V& seen, Fold fold) {
    using V = typename Words<Real>::V;
    constexpr Index lanes = Words<Real>::lanes, unrolled = 8;
    if (m.row_stride == 1 && m.col_stride != 1) m = m.transposed();
    const Extent extent = extent_of(m);
    using S = Vectors<Real>;
    const auto look = [&](const Real* v) { seen = fold(seen, std::bit_cast<V>(S::load(v))); };
    const auto look_at_first = [&](const Real* v, Index count) {
        seen = fold(seen, std::bit_cast<V>(S::load(v, S::first(int(count)))));
    };
    for (Index r = 0; r < extent.rows; ++r) {
        const Real* row = row_of(m, r);
        const Index n = extent.cols;
        if (m.col_stride != 1) {
            for (Index j = 0; j < n; ++j) look_at_first(row + j * m.col_stride, 1);
            continue;
        }
        if (n < lanes) {
            look_at_first(row, n);
            continue;
        }
        Index i = 0;
        for (; i + unrolled * lanes <= n; i += unrolled * lanes)
#pragma GCC unroll 8
            for (Index k = 0; k < unrolled; ++k) look(row + i + k * lanes);
        for (; i + lanes <= n; i += lanes) look(row + i);
        look(row + n - lanes);
    }
}

// Bounds on the magnitudes in a pass, with as few instructions as possible, because every step computes them. Deltas
// are mostly below 2, which a single bit shows. x behind relu has no sign and needs no mask.
template <class Real>
void largest_magnitudes(const Pass<Real>& pass, Magnitudes* out) {
    using W = Words<Real>;
    const std::size_t layers = pass.layer.size();
    const auto over_x = [&](auto& seen, auto fold) {
        for (std::size_t k = 1; k < layers; ++k) fold_words<Real>(pass.layer.data()[k - 1].x, seen, fold);
    };
    const auto over_delta = [&](auto& seen, auto fold) {
        for (std::size_t k = 0; k < layers; ++k) fold_words<Real>(pass.layer.data()[k].delta, seen, fold);
    };
    typename W::V input = {}, x = {}, delta = {};
    fold_words<Real>(pass.x0.csr == nullptr ? pass.x0.dense : pass.x0.csr->kept_numbers(), input, LargerMagnitude());
    over_x(x, Larger());
    over_delta(delta, EitherBit());
    std::uint32_t most_x = W::fold_lanes(x, Larger()), most_delta = W::fold_lanes(delta, EitherBit());
    if ((most_x & W::sign) != 0) {
        x = x ^ x;
        over_x(x, LargerMagnitude());
        most_x = W::fold_lanes(x, Larger());
    }
    if ((most_delta & W::two) != 0) {
        delta = delta ^ delta;
        over_delta(delta, LargerMagnitude());
        most_delta = W::fold_lanes(delta, Larger());
    } else {
        most_delta = W::two;
    }
    const auto raise = [](double& bound, double found) { bound = found > bound ? found : bound; };
    raise(out->x, W::bound(W::fold_lanes(input, Larger())));
    raise(out->x, W::bound(most_x));
    raise(out->delta, W::bound(most_delta));
}

}  // namespace
}  // namespace fastbp::loops
