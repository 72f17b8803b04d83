// Register-blocked micro-kernels: a few rows and vectors of c = alpha a b + beta c, kept in registers for all of the
// sum. Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008.
//
// Every number of c is one sum over k in ascending order, whatever tile it falls into, so its bits do not depend on
// where a product is cut.
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "backend/loops/blocks.hpp"
#include "backend/loops/vectors.hpp"

namespace fastbp::loops {
namespace {

// The operation that stores finished sums.
enum class Finish {
    overwrite,    // c = alpha sum, which never reads c
    blend,        // c = alpha sum + beta c
    affine,       // c = sum + bias
    affine_relu,  // c = relu(sum + bias)
    relu_prime,   // c = sum where relu's output is positive, else 0
};

// The operands of a tile. The rows of b are whole vectors. In the last vector of c only the lanes in `mask` are
// accessed.
template <class Real>
struct TileJob {
    Index depth;  // of the sum
    const Real* a;
    Index a_row, a_step;
    const Real* b;
    Index b_step;
    Finish finish;
    Real alpha, beta;
    Real* c;
    Index c_row;
    typename Vectors<Real>::Mask mask;
    const Real* bias = nullptr;
    const Real* partial_sum = nullptr;  // added to the sums before they are finished; rows partial_sum_row apart
    Index partial_sum_row = 0;
    const Real* output = nullptr;  // of relu, rows output_row apart
    Index output_row = 0;
    bool fetch = false;        // lines of a and c before they are needed
    bool first_panel = false;  // of those that use these rows of a
};

// The vector `at` of a row. In the last vector of the row only the lanes in the mask are accessed.
template <class Real>
inline typename Vectors<Real>::V load_at(const TileJob<Real>& job, const Real* row, int at, bool last) {
    using S = Vectors<Real>;
    return last ? S::load(row + at, job.mask) : S::load(row + at);
}

template <class Real, Finish how>
inline typename Vectors<Real>::V finished(const TileJob<Real>& job, typename Vectors<Real>::V sum, int row, int at,
                                          bool last) {
    using S = Vectors<Real>;
    const auto load = [&](const Real* of_row) { return load_at(job, of_row, at, last); };
    if constexpr (how == Finish::overwrite) return S::multiply(S::all(job.alpha), sum);
    if constexpr (how == Finish::blend)
        return S::multiply_add(S::all(job.beta), load(job.c + row * job.c_row), S::multiply(S::all(job.alpha), sum));
    if constexpr (how == Finish::affine) return S::add(sum, load(job.bias));
    if constexpr (how == Finish::affine_relu) return S::not_below(S::all(0), S::add(sum, load(job.bias)));
    if constexpr (how == Finish::relu_prime)
        return S::multiply(sum, S::one_where_positive(load(job.output + row * job.output_row)));
}

template <class Real, Finish how, int rows, int vectors>
inline void finish_tile(const TileJob<Real>& job, const typename Vectors<Real>::V (&sums)[rows][vectors]) {
    using S = Vectors<Real>;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) {
            const bool last = j == vectors - 1;
            const int at = j * S::lanes;
            const typename S::V v = finished<Real, how>(job, sums[i][j], i, at, last);
            Real* to = job.c + i * job.c_row + at;
            if (last)
                S::store(to, v, job.mask);
            else
                S::store(to, v);
        }
}

template <class Real, int rows, int vectors>
inline void add_partial_sum(const TileJob<Real>& job, typename Vectors<Real>::V (&sums)[rows][vectors]) {
    using S = Vectors<Real>;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) {
            const Real* row = job.partial_sum + i * job.partial_sum_row;
            sums[i][j] = S::add(sums[i][j], load_at(job, row, j * S::lanes, j == vectors - 1));
        }
}

// Prefetches the operands of the finish before the sums begin.
template <class Real, int rows, int vectors>
inline void fetch_what_finishes(const TileJob<Real>& job) {
    constexpr int lanes = Vectors<Real>::lanes;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) {
            __builtin_prefetch(job.c + i * job.c_row + j * lanes, 1);
            if (job.partial_sum != nullptr) __builtin_prefetch(job.partial_sum + i * job.partial_sum_row + j * lanes);
        }
}

// sums += a column of a times a row of b. The shorter of the two is loaded as a whole, the other element by element.
// `hold` keeps a factor in a register. Otherwise gcc would load it again for each multiplication, or move sums between
// registers.
template <class Real, int rows, int vectors>
inline void add_term(const Real* a, Index a_row, const Real* b, typename Vectors<Real>::V (&sums)[rows][vectors]) {
    using S = Vectors<Real>;
    constexpr bool by_rows = vectors <= rows;
    constexpr int shorter = by_rows ? vectors : rows, longer = by_rows ? rows : vectors;
    const auto from_a = [&](int i) { return S::all(a[i * a_row]); };
    const auto from_b = [&](int j) { return S::load(b + j * S::lanes); };
    typename S::V whole[shorter];
#pragma GCC unroll 4
    for (int n = 0; n < shorter; ++n) {
        whole[n] = by_rows ? from_b(n) : from_a(n);
        S::hold(whole[n]);
    }
#pragma GCC unroll 16
    for (int m = 0; m < longer; ++m) {
        typename S::V passing = by_rows ? from_a(m) : from_b(m);
        S::hold(passing);
#pragma GCC unroll 4
        for (int n = 0; n < shorter; ++n) {
            auto& sum = by_rows ? sums[m][n] : sums[n][m];
            sum = S::multiply_add(whole[n], passing, sum);
        }
        S::hold(passing);
    }
#pragma GCC unroll 4
    for (int n = 0; n < shorter; ++n) S::hold(whole[n]);
}

template <class Real, int rows, int vectors>
void multiply_tile(const TileJob<Real>& given) {
    using S = Vectors<Real>;
    using V = typename S::V;
    if (given.fetch) fetch_what_finishes<Real, rows, vectors>(given);
    V sums[rows][vectors];
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) sums[i][j] = S::all(0);
    const Real *a = given.a, *b = given.b;
    const Index a_row = given.a_row, a_step = given.a_step, b_step = given.b_step;
    if (given.depth % 2 != 0) add_term<Real>(a, a_row, b, sums), a += a_step, b += b_step;
    for (Index pairs = given.depth / 2; pairs > 0; --pairs, a += 2 * a_step, b += 2 * b_step) {
        add_term<Real>(a, a_row, b, sums);
        add_term<Real>(a + a_step, a_row, b + b_step, sums);
    }
    const TileJob<Real> job = given;  // a copy, which no store to c can change
    if (job.partial_sum != nullptr) add_partial_sum(job, sums);
    switch (job.finish) {
        case Finish::overwrite: return finish_tile<Real, Finish::overwrite>(job, sums);
        case Finish::blend: return finish_tile<Real, Finish::blend>(job, sums);
        case Finish::affine: return finish_tile<Real, Finish::affine>(job, sums);
        case Finish::affine_relu: return finish_tile<Real, Finish::affine_relu>(job, sums);
        case Finish::relu_prime: return finish_tile<Real, Finish::relu_prime>(job, sums);
    }
}

// The sums occupy 24 of 32 registers, or 12 of 16. The others hold the factors.
constexpr int most_vectors = 4;
template <class Real, int vectors>
constexpr int most_rows = std::min(12, Vectors<Real>::registers * 3 / 4 / vectors);

template <class Real, int vectors, int... rows>
constexpr auto tiles_of(std::integer_sequence<int, rows...>) {
    return std::array<void (*)(const TileJob<Real>&), sizeof...(rows)>{multiply_tile<Real, rows + 1, vectors>...};
}

template <class Real>
inline void fetch_rows(const TileJob<Real>& job, Index begin, Index end) {
    constexpr Index line = 64 / sizeof(Real);
    for (Index i = begin; i < end; ++i)
        for (Index k = 0; k < job.depth; k += line) __builtin_prefetch(job.a + i * job.a_row + k);
}

// The size of the next part of n, at most `most`. The last two parts have about the same size, because a small tile has
// too few sums to hide the latency of an addition.
inline Index next_part(Index n, Index most) { return n >= 2 * most ? most : n > most ? (n + 1) / 2 : n; }

// All rows of one column of tiles. job.a and job.c advance from tile to tile.
template <class Real, int vectors>
void multiply_tiles(TileJob<Real> job, Index rows) {
    constexpr Index full = most_rows<Real, vectors>;
    static constexpr auto tiles = tiles_of<Real, vectors>(std::make_integer_sequence<int, int(full)>());
    for (Index height; rows > 0; rows -= height) {
        height = next_part(rows, full);
        if (job.fetch && job.first_panel && job.a_step == 1)
            fetch_rows(job, height, rows < 2 * height ? rows : 2 * height);
        tiles[std::size_t(height - 1)](job);
        job.a += height * job.a_row;
        job.c += height * job.c_row;
        if (job.partial_sum != nullptr) job.partial_sum += height * job.partial_sum_row;
        if (job.output != nullptr) job.output += height * job.output_row;
    }
}

// body(that number as a constant)
template <class Body>
inline void with_vectors(Index vectors, Body body) {
    if (vectors == 1) return body(std::integral_constant<int, 1>());
    if (vectors == 2) return body(std::integral_constant<int, 2>());
    if (vectors == 3) return body(std::integral_constant<int, 3>());
    return body(std::integral_constant<int, 4>());
}

template <class Real>
void multiply_panel(const TileJob<Real>& job, Index rows, Index vectors) {
    with_vectors(vectors, [&](auto count) { multiply_tiles<Real, count>(job, rows); });
}

}  // namespace
}  // namespace fastbp::loops
