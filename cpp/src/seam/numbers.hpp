// Conversion of single numbers from the type of a caller's array to the type of a tile.
#pragma once

#include <bit>
#include <limits>
#include <type_traits>

#include "seam/views.hpp"

namespace fastbp {

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits.
struct Half {
    std::uint16_t bits;
};

struct Boolean {
    std::uint8_t byte;
};

// A half is a normal float with the exponent moved, and a subnormal half is a fraction of 2^-24.
constexpr float number(Half half) {
    const std::uint32_t sign = std::uint32_t(half.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (half.bits >> 10) & 31u, fraction = half.bits & 1023u;
    if (exponent == 0) {
        const float magnitude = float(fraction) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const std::uint32_t moved = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | (moved << 23) | (fraction << 13));
}

constexpr int number(Boolean boolean) { return boolean.byte != 0 ? 1 : 0; }

template <class T>
constexpr T number(T value) {
    return value;
}

// A real number as a class number, or -1 if no int can hold it.
template <class To, class From>
constexpr To convert(From value) {
    if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>)
        return value >= From(0) && value < From(std::numeric_limits<To>::max()) ? To(value) : To(-1);
    else
        return To(value);
}

// Calls body(number) with a number of the type that the array holds. Not for long_double, which no device has.
template <class Body>
constexpr void with_number(NumberType type, Body body) {
    switch (type) {
        case NumberType::float32: return body(float());
        case NumberType::float64: return body(double());
        case NumberType::float16: return body(Half());
        case NumberType::boolean: return body(Boolean());
        case NumberType::int8: return body(std::int8_t());
        case NumberType::int16: return body(std::int16_t());
        case NumberType::int32: return body(std::int32_t());
        case NumberType::int64: return body(std::int64_t());
        case NumberType::uint8: return body(std::uint8_t());
        case NumberType::uint16: return body(std::uint16_t());
        case NumberType::uint32: return body(std::uint32_t());
        case NumberType::uint64: return body(std::uint64_t());
        case NumberType::long_double: break;
    }
}

}  // namespace fastbp
