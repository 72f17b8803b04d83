#include "seam/load_rows.hpp"

#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>

namespace fastbp {
namespace {

struct Half {
    std::uint16_t bits;
};

// IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. A half is a normal float with the exponent moved, and a
// subnormal half is a fraction of 2^-24.
float number(Half half) {
    const std::uint32_t sign = std::uint32_t(half.bits & 0x8000u) << 16;
    const std::uint32_t exponent = (half.bits >> 10) & 31u, fraction = half.bits & 1023u;
    if (exponent == 0) {
        const float magnitude = float(fraction) * 0x1p-24f;
        return sign != 0 ? -magnitude : magnitude;
    }
    const std::uint32_t moved = exponent == 31 ? 255 : exponent + 112;
    return std::bit_cast<float>(sign | (moved << 23) | (fraction << 13));
}

struct Boolean {
    std::uint8_t byte;
};

int number(Boolean boolean) { return boolean.byte != 0 ? 1 : 0; }

template <class T>
T number(T value) {
    return value;
}

// A real number as a class number: -1 where it is none that an int could hold.
template <class To, class From>
To convert(From value) {
    if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>)
        return value >= From(0) && value < From(std::numeric_limits<To>::max()) ? To(value) : To(-1);
    else
        return To(value);
}

template <class From>
From read(const std::byte* at, bool swapped) {
    From value;
    std::memcpy(&value, at, sizeof value);
    if (swapped) {
        std::byte bytes[sizeof value];
        for (std::size_t k = 0; k < sizeof value; ++k) bytes[k] = at[sizeof value - 1 - k];
        std::memcpy(&value, bytes, sizeof value);
    }
    return value;
}

template <class From, class To>
void convert_rows(const RowSource& source, RowRange rows, Matrix<To> tile) {
    const Index size = Index(sizeof(From));
    const bool plain = !source.byte_swapped && source.col_stride == size && tile.col_stride == 1;
    for (Index i = 0; i < tile.rows; ++i) {
        const std::byte* from = source.data + rows[i] * source.row_stride;
        To* to = tile.data + i * tile.row_stride;
        if (plain && std::is_same_v<From, To>) {
            std::memcpy(to, from, std::size_t(tile.cols * size));
        } else if (plain) {
            for (Index j = 0; j < tile.cols; ++j) to[j] = convert<To>(number(read<From>(from + j * size, false)));
        } else {
            for (Index j = 0; j < tile.cols; ++j)
                to[j * tile.col_stride] =
                    convert<To>(number(read<From>(from + j * source.col_stride, source.byte_swapped)));
        }
    }
}

}  // namespace

template <class To>
void load_rows(const RowSource& source, RowRange rows, Matrix<To> tile) {
    switch (source.type) {
        case NumberType::float32: return convert_rows<float>(source, rows, tile);
        case NumberType::float64: return convert_rows<double>(source, rows, tile);
        case NumberType::float16: return convert_rows<Half>(source, rows, tile);
        case NumberType::long_double: return convert_rows<long double>(source, rows, tile);
        case NumberType::boolean: return convert_rows<Boolean>(source, rows, tile);
        case NumberType::int8: return convert_rows<std::int8_t>(source, rows, tile);
        case NumberType::int16: return convert_rows<std::int16_t>(source, rows, tile);
        case NumberType::int32: return convert_rows<std::int32_t>(source, rows, tile);
        case NumberType::int64: return convert_rows<std::int64_t>(source, rows, tile);
        case NumberType::uint8: return convert_rows<std::uint8_t>(source, rows, tile);
        case NumberType::uint16: return convert_rows<std::uint16_t>(source, rows, tile);
        case NumberType::uint32: return convert_rows<std::uint32_t>(source, rows, tile);
        case NumberType::uint64: return convert_rows<std::uint64_t>(source, rows, tile);
    }
}

template <class Real>
void load_csr(const RowSource& source, RowRange rows, CsrTile<Real> tile) {
    Index count = 0;
    for (Index i = 0; i < rows.count; ++i) {
        const Index begin = source.start(rows[i]), n = source.start(rows[i] + 1) - begin;
        tile.starts[i] = count;
        RowSource row = source;
        row.data += begin * row.col_stride;
        load_rows(row, {nullptr, 0, 1}, Matrix<Real>{tile.values + count, 1, n, n, 1});
        for (Index k = 0; k < n; ++k) tile.columns[count + k] = source.column(begin + k);
        count += n;
    }
    tile.starts[rows.count] = count;
}

template void load_rows(const RowSource&, RowRange, Matrix<float>);
template void load_rows(const RowSource&, RowRange, Matrix<double>);
template void load_rows(const RowSource&, RowRange, Matrix<std::int32_t>);
template void load_csr(const RowSource&, RowRange, CsrTile<float>);
template void load_csr(const RowSource&, RowRange, CsrTile<double>);

}  // namespace fastbp
