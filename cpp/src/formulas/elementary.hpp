// Elementary functions as straight-line arithmetic, so that a plain loop over any of them vectorises.
//
// Everything here has internal linkage: the header is compiled once per instruction set, and a weak inline
// function shared between those objects could bring AVX-512 code to a machine without it. For the same
// reason nothing of std:: is called, since std::exp and std::bit_cast are such functions.
//
// Special values need no branch: clamps are written so that a NaN falls through them, exponents are built
// in unsigned arithmetic, and no floating-point number is ever cast to an integer.
//
// The scheme is the usual one (Cody & Waite, Software Manual for the Elementary Functions, 1980; Muller,
// Elementary Functions, 3rd ed., 2016): reduce the argument with a constant in two parts, evaluate a
// near-minimax polynomial, rebuild. tools/coefficients.py prints every table. Nothing depends on FMA, and
// nothing breaks if the compiler contracts: each product that must be exact is exact either way.
#pragma once

#include <cmath>
#include <cstdint>

#ifndef FASTBP_FORMULA
#ifdef __CUDACC__
#define FASTBP_FORMULA static __host__ __device__ __forceinline__
#else
#define FASTBP_FORMULA static inline __attribute__((always_inline))
#endif
#endif

namespace fastbp::formulas {

// ---- Number formats ----------------------------------------------------------------------------------

// The members are used by value only; a reference to one would emit a weak symbol.
template <class Real>
struct Format;

template <>
struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa_bits = 23;
    static constexpr Bits bias = 127;
    static constexpr Bits upper_half = 0xFFFFF000U;  // keeps 12 significant bits: their square is exact

    // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low bits of the sum.
    static constexpr float rounder = 12582912.0f;
    static constexpr Bits rounder_bits = 0x4B400000U;

    static constexpr float ln2_high = 0.693359375f;  // 9 bits: n * ln2_high is exact
    static constexpr float ln2_low = -2.12194440e-4f;

    static constexpr float largest = 3.402823466e+38f;
    static constexpr float exp_zero = -105.0f;         // below: exp rounds to 0
    static constexpr float exp_infinity = 89.0f;       // above: exp overflows
    static constexpr float expm1_minus_one = -20.0f;   // below: expm1 rounds to -1
    static constexpr float expm1_identity = 0x1p-30f;  // nearer to 0: expm1(x) rounds to x
    static constexpr float density_zero = 14.5f;       // above: exp(-z * z / 2) rounds to 0
};

template <>
struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa_bits = 52;
    static constexpr Bits bias = 1023;
    static constexpr Bits upper_half = 0xFFFFFFFFF8000000U;  // keeps 26 significant bits

    static constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr Bits rounder_bits = 0x4338000000000000U;

    static constexpr double ln2_high = 6.93147180369123816490e-01;  // 33 bits
    static constexpr double ln2_low = 1.90821492927058770002e-10;

    static constexpr double largest = 1.7976931348623157e+308;
    static constexpr double exp_zero = -746.0;
    static constexpr double exp_infinity = 710.0;
    static constexpr double expm1_minus_one = -40.0;
    static constexpr double expm1_identity = 0x1p-60;
    static constexpr double density_zero = 39.0;
};

FASTBP_FORMULA std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
FASTBP_FORMULA std::uint64_t bits_of(double x) { return __builtin_bit_cast(std::uint64_t, x); }
FASTBP_FORMULA float number_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
FASTBP_FORMULA double number_of(std::uint64_t bits) { return __builtin_bit_cast(double, bits); }

FASTBP_FORMULA float magnitude(float x) { return __builtin_fabsf(x); }
FASTBP_FORMULA double magnitude(double x) { return __builtin_fabs(x); }
FASTBP_FORMULA float with_sign(float x, float sign) { return __builtin_copysignf(x, sign); }
FASTBP_FORMULA double with_sign(double x, double sign) { return __builtin_copysign(x, sign); }

// NaN compares false and is returned.
template <class Real>
FASTBP_FORMULA Real at_least(Real x, Real low) {
    return x < low ? low : x;
}
template <class Real>
FASTBP_FORMULA Real at_most(Real x, Real high) {
    return x > high ? high : x;
}

// c0 + c1 x + c2 x^2 + ..., by Horner's rule: the loops around have enough elements in flight to hide its
// latency, and it rounds least.
template <class Real>
FASTBP_FORMULA Real horner(Real /*x*/, Real last) {
    return last;
}
template <class Real, class... Rest>
FASTBP_FORMULA Real horner(Real x, Real first, Rest... rest) {
    return first + x * horner(x, rest...);
}

// ---- The exponential ---------------------------------------------------------------------------------

// q of exp(r) = 1 + r + r^2 q(r), abs(r) <= ln(2) / 2
FASTBP_FORMULA float exponential_tail(float r) {
    return horner(r, 0.5f, 0.16666576f, 0.041666552f, 0.008363233f, 0.001392625f);
}
FASTBP_FORMULA double exponential_tail(double r) {
    return horner(r, 0.5000000000000001, 0.16666666666666669, 0.041666666666623824, 0.008333333333330039,
                  0.0013888888917367081, 0.00019841269863171557, 2.4801521057868204e-05, 2.7557268276905696e-06,
                  2.7620201591031547e-07, 2.5100472505694996e-08);
}

// exp(r) - 1 on the reduced range; r is added last, which keeps the error near half an ulp of r.
template <class Real>
FASTBP_FORMULA Real reduced_expm1(Real r) {
    return r + (r * r) * exponential_tail(r);
}

// rounder + n, with n the integer nearest to x / ln 2
template <class Real>
FASTBP_FORMULA Real shifted_quotient(Real x) {
    return x * static_cast<Real>(1.44269504088896340736) + Format<Real>::rounder;
}

// y 2^n for n = shifted - rounder. Two factors of about 2^(n/2): each is a normal number, only the last
// product rounds, so that a subnormal result is rounded once and an overflow comes out as infinity.
template <class Real>
FASTBP_FORMULA Real scale_by_power(Real y, Real shifted) {
    using F = Format<Real>;
    using Bits = typename F::Bits;
    const Bits exponents = bits_of(shifted) - (F::rounder_bits - 2 * F::bias);
    const Bits first = exponents >> 1;
    const Bits second = exponents - first;
    return y * number_of(first << F::mantissa_bits) * number_of(second << F::mantissa_bits);
}

// exp(x). 0 at -inf, inf at +inf and from overflow on, right in the subnormals.
template <class Real>
FASTBP_FORMULA Real exponential(Real x) {
    using F = Format<Real>;
    x = at_most(at_least(x, F::exp_zero), F::exp_infinity);
    const Real shifted = shifted_quotient(x);
    const Real n = shifted - F::rounder;
    const Real r = (x - n * F::ln2_high) - n * F::ln2_low;
    return scale_by_power(1 + reduced_expm1(r), shifted);
}

// (exp(x) - 1) / 2 for x between expm1_minus_one and exp_infinity. The half keeps 2^n finite up to the
// overflow of exp(x) - 1 itself.
template <class Real>
FASTBP_FORMULA Real half_expm1(Real x) {
    using F = Format<Real>;
    using Bits = typename F::Bits;
    const Real shifted = shifted_quotient(x);
    const Real n = shifted - F::rounder;
    const Real r = (x - n * F::ln2_high) - n * F::ln2_low;
    const Bits exponent = bits_of(shifted) - (F::rounder_bits - (F::bias - 1));
    const Real half_power = number_of(exponent << F::mantissa_bits);
    return reduced_expm1(r) * half_power + (half_power - static_cast<Real>(0.5));
}

// exp(x) - 1 without cancellation near 0; keeps the sign of a zero.
template <class Real>
FASTBP_FORMULA Real exponential_minus_one(Real x) {
    using F = Format<Real>;
    const Real clamped = at_most(at_least(x, F::expm1_minus_one), F::exp_infinity);
    const Real y = 2 * half_expm1(clamped);
    return magnitude(x) < F::expm1_identity ? x : y;
}

// ---- The logarithm -----------------------------------------------------------------------------------

// q of log(1 + f) = f - f^2 / 2 + f^3 q(f), -1/4 <= f <= 1/2
FASTBP_FORMULA float logarithm_tail(float f) {
    return horner(f, 0.33333334f, -0.25000057f, 0.2000014f, -0.16660817f, 0.14268306f, -0.12639311f, 0.11680682f,
                  -0.0956134f, 0.042871978f);
}
FASTBP_FORMULA double logarithm_tail(double f) {
    return horner(f, 0.3333333333333333, -0.2500000000000012, 0.20000000000006407, -0.16666666666612992,
                  0.1428571428392708, -0.12500000005213657, 0.11111111304232689, -0.09999999985844721,
                  0.09090898971370848, -0.08333314567375823, 0.07692576120692414, -0.0714381933018458,
                  0.06663614797045028, -0.062299608163091796, 0.05877310567252692, -0.057267996660784304,
                  0.05650016358793704, -0.048706968307282814, 0.02883326140633849, -0.008121289950971937);
}

// log(1 + z) for 0 <= z <= 1. Above 1/2 it is ln 2 + log(1 + f) with f = (z - 1) / 2, an exact
// difference (Sterbenz); otherwise f = z, and a subnormal z returns unchanged.
template <class Real>
FASTBP_FORMULA Real log_one_plus(Real z) {
    const Real half = static_cast<Real>(0.5);
    const Real f = z > half ? half * (z - 1) : z;
    const Real offset = z > half ? static_cast<Real>(0.69314718055994530942) : static_cast<Real>(0);
    const Real square = f * f;
    const Real correction = square * (f * logarithm_tail(f) - half);
    return offset + (f + correction);
}

// log(1 + z) for any z >= 0, inf and nan included: 1 + z = 2^n (1 + f) with -1/4 <= f < 1/2, and f = z without the
// rounding of 1 + z where n = 0.
FASTBP_FORMULA double log_one_plus_any(double z) {
    using F = Format<double>;
    const double u = 1 + z;
    // The exponent after the mantissa is moved so that it changes at 3/2 and not at 2.
    const F::Bits moved = bits_of(u) + (bits_of(2.0) - bits_of(1.5));
    const F::Bits power = moved >> F::mantissa_bits << F::mantissa_bits;
    const F::Bits one = F::bias << F::mantissa_bits;
    const double f = z < 0.5 ? z : number_of(bits_of(u) - (power - one)) - 1;
    const double n = number_of((power >> F::mantissa_bits) + F::rounder_bits) - F::rounder - 1023;
    const double square = f * f;
    const double y = (f + (square * (f * logarithm_tail(f) - 0.5) + n * F::ln2_low)) + n * F::ln2_high;
    return z < 0x1p1000 ? y : z;
}

// ---- Sigmoids ----------------------------------------------------------------------------------------

// With h = (exp(-2 abs(x)) - 1) / 2, tanh abs(x) = h / (-1 - h). No overflow, exactly 1 once h = -1/2,
// and odd to the bit.
template <class Real>
FASTBP_FORMULA Real hyperbolic_tangent(Real x) {
    const Real h = half_expm1(at_least(-2 * magnitude(x), Format<Real>::expm1_minus_one));
    return with_sign(h / (1 + h), x);
}

// 1 / (1 + exp(-x)); exp(-abs(x)) never overflows and gives the relative accuracy of the left tail.
template <class Real>
FASTBP_FORMULA Real logistic(Real x) {
    const Real e = exponential(-magnitude(x));
    return (x < 0 ? e : static_cast<Real>(1)) / (1 + e);
}

// log(1 + exp(x)), split so that neither side overflows.
template <class Real>
FASTBP_FORMULA Real softplus(Real x) {
    return (x > 0 ? x : static_cast<Real>(0)) + log_one_plus(exponential(-magnitude(x)));
}

// ---- The normal distribution -------------------------------------------------------------------------

// R of 1 - Phi(z) = exp(-z^2 / 2) R(z), Mills' ratio over sqrt(2 pi), that is
// erfcx(z / sqrt 2) / 2, for 0 <= z <= density_zero. A quotient of polynomials fitted at Chebyshev's
// nodes in (z - k) / (z + k), the variable of Shepherd & Laframboise, Math. Comp. 36 (1981).
// All coefficients are positive: neither sum can cancel, and no term is far above the result.
FASTBP_FORMULA float mills_numerator(float z) {
    return horner(z, 0.5f, 0.4366681f, 0.18198685f, 0.04020022f, 0.004048611f);
}
FASTBP_FORMULA float mills_denominator(float z) {
    return horner(z, 1.0f, 1.671221f, 1.1974115f, 0.46616516f, 0.100773804f, 0.010148236f);
}
FASTBP_FORMULA double mills_numerator(double z) {
    return horner(z, 0.5, 0.8269347704845956, 0.6780533036107969, 0.35613686845811376, 0.1314501015618775,
                  0.03546370303806425, 0.007072761238923013, 0.0010308869241502047, 0.00010549215711988154,
                  6.891854143306654e-06, 2.2095472614176822e-07);
}
FASTBP_FORMULA double mills_denominator(double z) {
    return horner(z, 1.0, 2.4517541017720568, 2.8123233519106083, 1.9962675887727563, 0.9766018637103125,
                  0.3467019962894142, 0.09144382074471419, 0.017992105212711246, 0.0026013256286997024,
                  0.0002649834751490872, 1.7275316460277352e-05, 5.53851363960167e-07);
}

// factor exp(-z^2 / 2) for 0 <= z <= density_zero. A rounded z^2 / 2 would cost z^2 / 2 ulp, so z^2 is
// high^2, exact, and (z - high)(z + high), which joins the reduced argument
// (Cody, Algorithm 715, ACM TOMS 19, 1993).
// The factor is multiplied in before the power of two: the result is rounded once in the subnormals.
template <class Real>
FASTBP_FORMULA Real scaled_gaussian(Real z, Real factor) {
    using F = Format<Real>;
    const Real half = static_cast<Real>(0.5);
    const Real high = number_of(bits_of(z) & F::upper_half);
    const Real main = -half * (high * high);
    const Real tail = -half * ((z - high) * (z + high));
    const Real shifted = shifted_quotient(main + tail);
    const Real n = shifted - F::rounder;
    const Real r = (main - n * F::ln2_high) + (tail - n * F::ln2_low);
    return scale_by_power(factor + factor * reduced_expm1(r), shifted);
}

// Phi(x), the normal distribution function, with full relative accuracy in the left tail.
template <class Real>
FASTBP_FORMULA Real normal_cdf(Real x) {
    const Real z = at_most(magnitude(x), Format<Real>::density_zero);
    const Real p = scaled_gaussian(z, mills_numerator(z) / mills_denominator(z));
    return x < 0 ? p : 1 - p;
}

// x Phi(x) as max(x, 0) - abs(x) Phi(-abs(x)): abs(x) goes into the factor, so that the left tail stays
// accurate where Phi itself is subnormal, and -inf gives 0 rather than inf * 0.
template <class Real>
FASTBP_FORMULA Real gaussian_linear_unit(Real x) {
    const Real z = at_most(magnitude(x), Format<Real>::density_zero);
    const Real below = scaled_gaussian(z, z * mills_numerator(z) / mills_denominator(z));
    return (x < 0 ? static_cast<Real>(0) : x) - below;
}

// phi(x) = Phi'(x)
template <class Real>
FASTBP_FORMULA Real normal_density(Real x) {
    const Real z = at_most(magnitude(x), Format<Real>::density_zero);
    return scaled_gaussian(z, static_cast<Real>(0.39894228040143267794));
}

// ---- Circular functions ------------------------------------------------------------------------------

// A reduction good for every argument is not straight-line code: the C library's functions, element-wise.
FASTBP_FORMULA float sine(float x) { return ::sinf(x); }
FASTBP_FORMULA double sine(double x) { return ::sin(x); }
FASTBP_FORMULA float cosine(float x) { return ::cosf(x); }
FASTBP_FORMULA double cosine(double x) { return ::cos(x); }

}  // namespace fastbp::formulas
