// One register of numbers of the instruction set a unit is compiled for. A mask names the first n lanes; nan passes
// not_below. where_less: v where a < b, else 0. A register of float64 can be loaded from float32. hold: here v is in a
// register of its own, if registers are few.
#pragma once

#include <cstring>
#include <utility>

#include "formulas/steps.hpp"

#if defined(__AVX512F__) || defined(__AVX2__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // which gcc 12 finds in its own header
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace fastbp::loops {
namespace {

template <class Real>
struct Vectors;

#if defined(__AVX512F__)

template <>
struct Vectors<float> {
    using V = __m512;
    using Mask = __mmask16;
    static constexpr int lanes = 16, registers = 32;
    static V all(float v) { return _mm512_set1_ps(v); }
    static void hold(V&) {}
    static V load(const float* p) { return _mm512_loadu_ps(p); }
    static V load(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
    static V load(const float* p, Mask mask, V otherwise) { return _mm512_mask_loadu_ps(otherwise, mask, p); }
    static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
    static void store(float* p, V v, Mask mask) { _mm512_mask_storeu_ps(p, mask, v); }
    static V add(V a, V b) { return _mm512_add_ps(a, b); }
    static V multiply(V a, V b) { return _mm512_mul_ps(a, b); }
    static V not_below(V low, V v) { return _mm512_max_ps(low, v); }
    static V one_where_positive(V v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, all(0), _CMP_GT_OQ), all(1)); }
    static V zero_where_small(V v, V limit) {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(_mm512_abs_ps(v), limit, _CMP_NLT_UQ), v);
    }
    static V where_less(V a, V b, V v) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), v); }
    static V multiply_add(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
    // A step of Newton's from the estimate y of 1 / r(v), good to 14 bits: to the last bit but one, in half the time.
    // In place of what has no estimate, zero and infinity, v itself.
    static V square_root(V v) {
        const __m512i take_v = _mm512_set1_epi32(1 << 4 * 2 | 1 << 4 * 5);
        const V y = _mm512_rsqrt14_ps(v), root = v * y, error = _mm512_fnmadd_ps(root, y, all(1));
        return _mm512_fixupimm_ps(_mm512_fmadd_ps(root * all(0.5f), error, root), v, take_v, 0);
    }
    static Mask first(int n) { return Mask((1u << n) - 1); }
};

template <>
struct Vectors<double> {
    using V = __m512d;
    using Mask = __mmask8;
    static constexpr int lanes = 8, registers = 32;
    static V all(double v) { return _mm512_set1_pd(v); }
    static void hold(V&) {}
    static V load(const double* p) { return _mm512_loadu_pd(p); }
    static V load(const double* p, Mask mask) { return _mm512_maskz_loadu_pd(mask, p); }
    static V load(const double* p, Mask mask, V otherwise) { return _mm512_mask_loadu_pd(otherwise, mask, p); }
    static V load(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
    static V load(const float* p, Mask mask) { return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(mask, p)); }
    static V load(const float* p, Mask mask, V otherwise) {
        return _mm512_mask_cvtps_pd(otherwise, mask, _mm256_maskz_loadu_ps(mask, p));
    }
    static void store(double* p, V v) { _mm512_storeu_pd(p, v); }
    static void store(double* p, V v, Mask mask) { _mm512_mask_storeu_pd(p, mask, v); }
    static V add(V a, V b) { return _mm512_add_pd(a, b); }
    static V multiply(V a, V b) { return _mm512_mul_pd(a, b); }
    static V not_below(V low, V v) { return _mm512_max_pd(low, v); }
    static V one_where_positive(V v) { return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(v, all(0), _CMP_GT_OQ), all(1)); }
    static V zero_where_small(V v, V limit) {
        return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(_mm512_abs_pd(v), limit, _CMP_NLT_UQ), v);
    }
    static V where_less(V a, V b, V v) { return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), v); }
    static V multiply_add(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
    static V square_root(V v) { return _mm512_sqrt_pd(v); }
    static Mask first(int n) { return Mask((1u << n) - 1); }
};

#elif defined(__AVX2__)

// Masked stores take AMD's processors dozens of cycles: the first n lanes are stored in halves of halves.
struct FirstLanes {
    __m256i lanes;
    int n;
};

template <>
struct Vectors<float> {
    using V = __m256;
    using Mask = FirstLanes;
    static constexpr int lanes = 8, registers = 16;
    static V all(float v) { return _mm256_set1_ps(v); }
    static void hold(V& v) { asm volatile("" : "+x"(v)); }
    static V load(const float* p) { return _mm256_loadu_ps(p); }
    static V load(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask.lanes); }
    static V load(const float* p, Mask mask, V otherwise) {
        return _mm256_blendv_ps(otherwise, load(p, mask), _mm256_castsi256_ps(mask.lanes));
    }
    static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
    static void store(float* p, V v, Mask mask) {
        if (mask.n == lanes) return store(p, v);
        __m128 rest = _mm256_castps256_ps128(v);
        if (mask.n & 4) {
            _mm_storeu_ps(p, rest);
            p += 4, rest = _mm256_extractf128_ps(v, 1);
        }
        if (mask.n & 2) {
            _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
            p += 2, rest = _mm_movehl_ps(rest, rest);
        }
        if (mask.n & 1) _mm_store_ss(p, rest);
    }
    static V add(V a, V b) { return _mm256_add_ps(a, b); }
    static V multiply(V a, V b) { return _mm256_mul_ps(a, b); }
    static V not_below(V low, V v) { return _mm256_max_ps(low, v); }
    static V one_where_positive(V v) { return _mm256_and_ps(_mm256_cmp_ps(v, all(0), _CMP_GT_OQ), all(1)); }
    static V zero_where_small(V v, V limit) {
        return _mm256_and_ps(_mm256_cmp_ps(_mm256_andnot_ps(all(-0.0), v), limit, _CMP_NLT_UQ), v);
    }
    static V where_less(V a, V b, V v) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), v); }
    static V multiply_add(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
    static V square_root(V v) { return _mm256_sqrt_ps(v); }
    static Mask first(int n) {
        return {_mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), n};
    }
};

template <>
struct Vectors<double> {
    using V = __m256d;
    using Mask = FirstLanes;
    static constexpr int lanes = 4, registers = 16;
    static V all(double v) { return _mm256_set1_pd(v); }
    static void hold(V& v) { asm volatile("" : "+x"(v)); }
    static V load(const double* p) { return _mm256_loadu_pd(p); }
    static V load(const double* p, Mask mask) { return _mm256_maskload_pd(p, mask.lanes); }
    static V load(const double* p, Mask mask, V otherwise) {
        return _mm256_blendv_pd(otherwise, load(p, mask), _mm256_castsi256_pd(mask.lanes));
    }
    static V load(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
    static V load(const float* p, Mask mask) {
        const __m128 low = _mm_castsi128_ps(_mm256_castsi256_si128(mask.lanes));
        const __m128 high = _mm_castsi128_ps(_mm256_extracti128_si256(mask.lanes, 1));
        const __m128i narrow = _mm_castps_si128(_mm_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
        return _mm256_cvtps_pd(_mm_maskload_ps(p, narrow));
    }
    static V load(const float* p, Mask mask, V otherwise) {
        return _mm256_blendv_pd(otherwise, load(p, mask), _mm256_castsi256_pd(mask.lanes));
    }
    static void store(double* p, V v) { _mm256_storeu_pd(p, v); }
    static void store(double* p, V v, Mask mask) {
        if (mask.n == lanes) return store(p, v);
        __m128d rest = _mm256_castpd256_pd128(v);
        if (mask.n & 2) {
            _mm_storeu_pd(p, rest);
            p += 2, rest = _mm256_extractf128_pd(v, 1);
        }
        if (mask.n & 1) _mm_store_sd(p, rest);
    }
    static V add(V a, V b) { return _mm256_add_pd(a, b); }
    static V multiply(V a, V b) { return _mm256_mul_pd(a, b); }
    static V not_below(V low, V v) { return _mm256_max_pd(low, v); }
    static V one_where_positive(V v) { return _mm256_and_pd(_mm256_cmp_pd(v, all(0), _CMP_GT_OQ), all(1)); }
    static V zero_where_small(V v, V limit) {
        return _mm256_and_pd(_mm256_cmp_pd(_mm256_andnot_pd(all(-0.0), v), limit, _CMP_NLT_UQ), v);
    }
    static V where_less(V a, V b, V v) { return _mm256_and_pd(_mm256_cmp_pd(a, b, _CMP_LT_OQ), v); }
    static V multiply_add(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
    static V square_root(V v) { return _mm256_sqrt_pd(v); }
    static Mask first(int n) { return {_mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)), n}; }
};

#else

// The compiler's own vectors, of the 16 bytes that every machine has.
template <class Real>
struct Vectors {
    typedef Real V __attribute__((vector_size(16)));
    using Mask = int;
    static constexpr int lanes = 16 / int(sizeof(Real)), registers = 16;
    static V all(Real v) { return v - V{}; }
    static void hold(V&) {}
    static V load(const Real* p) { return load(p, lanes); }
    static V load(const Real* p, Mask mask) { return load(p, mask, V{}); }
    static V load(const Real* p, Mask mask, V v) {
        std::memcpy(&v, p, std::size_t(mask) * sizeof(Real));
        return v;
    }
    static V load(const float* p)
        requires(sizeof(Real) > sizeof(float))
    {
        return load(p, lanes);
    }
    static V load(const float* p, Mask mask)
        requires(sizeof(Real) > sizeof(float))
    {
        return load(p, mask, V{});
    }
    static V load(const float* p, Mask mask, V v)
        requires(sizeof(Real) > sizeof(float))
    {
        for (Mask lane = 0; lane < mask; ++lane) v[lane] = Real(p[lane]);
        return v;
    }
    static void store(Real* p, V v) { store(p, v, lanes); }
    static void store(Real* p, V v, Mask mask) { std::memcpy(p, &v, std::size_t(mask) * sizeof(Real)); }
    static V add(V a, V b) { return a + b; }
    static V multiply(V a, V b) { return a * b; }
    static V not_below(V low, V v) { return v < low ? low : v; }
    static V one_where_positive(V v) { return v > all(0) ? all(1) : all(0); }
    static V zero_where_small(V v, V limit) { return (v < limit) & (-v < limit) ? all(0) : v; }
    static V where_less(V a, V b, V v) { return a < b ? v : all(0); }
    static V multiply_add(V a, V b, V c) { return a * b + c; }
    static V square_root(V v) {
        for (int lane = 0; lane < lanes; ++lane) v[lane] = formulas::square_root(v[lane]);
        return v;
    }
    static Mask first(int n) { return n; }
};

#endif

// A register as a number, for the formulas.
template <class Real>
struct Lanes {
    using S = Vectors<Real>;
    typename S::V v;

    friend Lanes operator+(Lanes a, Lanes b) { return {a.v + b.v}; }
    friend Lanes operator-(Lanes a, Lanes b) { return {a.v - b.v}; }
    friend Lanes operator/(Lanes a, Lanes b) { return {a.v / b.v}; }
    friend Lanes operator*(Lanes a, Lanes b) { return {a.v * b.v}; }
    friend Lanes operator*(Real a, Lanes b) { return {S::all(a) * b.v}; }
    friend Lanes operator+(Lanes a, Real b) { return {a.v + S::all(b)}; }
    friend Lanes square_root(Lanes a) { return {S::square_root(a.v)}; }
    friend Lanes quotient_or_zero(Lanes direction, Lanes root) {
        return {S::where_less(S::all(0), root.v, direction.v / root.v)};
    }
    friend Lanes flush_tiny(Lanes a, Real limit) { return {S::zero_where_small(a.v, S::all(limit))}; }
};

// Rows i and i + distance exchange the lanes that are on the wrong side of the diagonal at this distance.
template <class V, int... lane>
inline void exchange(V& upper, V& lower, auto distance, std::integer_sequence<int, lane...>) {
    constexpr int d = decltype(distance)::value, n = sizeof...(lane);
    const V a = upper, b = lower;
    upper = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane : n + lane - d)...);
    lower = __builtin_shufflevector(a, b, ((lane & d) == 0 ? lane + d : n + lane)...);
}

// Transposes a square of numbers in registers, by halves of halves (Eklundh 1972).
template <class Real, int distance = Vectors<Real>::lanes / 2>
inline void transpose(typename Vectors<Real>::V* rows) {
    constexpr int n = Vectors<Real>::lanes;
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i)
        if ((i & distance) == 0)
            exchange(rows[i], rows[i + distance], std::integral_constant<int, distance>(),
                     std::make_integer_sequence<int, n>());
    if constexpr (distance > 1) transpose<Real, distance / 2>(rows);
}

// Lane i of the result is the fold of the lanes of rows[i], which are used up: the same halves of halves, folded.
template <class Real, int distance = Vectors<Real>::lanes / 2, class Fold>
inline typename Vectors<Real>::V fold_lanes(typename Vectors<Real>::V* rows, Fold fold) {
#pragma GCC unroll 8
    for (int i = 0; i < distance; ++i) {
        exchange(rows[i], rows[i + distance], std::integral_constant<int, distance>(),
                 std::make_integer_sequence<int, Vectors<Real>::lanes>());
        rows[i] = fold(rows[i], rows[i + distance]);
    }
    if constexpr (distance > 1) return fold_lanes<Real, distance / 2>(rows, fold);
    return rows[0];
}

}  // namespace
}  // namespace fastbp::loops
