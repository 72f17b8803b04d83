// Views: addresses, sizes and strides of numbers, without ownership. Plain data, standard library only. constexpr
// functions may be called on a device.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

// The functions of views are always inlined. A unit compiled for a newer instruction set must define no function that
// the linker could use in another unit.
#define FASTBP_VIEW __attribute__((always_inline)) constexpr

namespace fastbp {

using Index = std::int64_t;

// (rows, cols) numbers; one of the two strides is 1 wherever rows and cols exceed 1. A view without data is empty:
// operations skip it. Transposing or cutting a view never touches the numbers.
template <class T>
struct Matrix {
    T* data = nullptr;
    Index rows = 0, cols = 0;
    Index row_stride = 0, col_stride = 1;

    FASTBP_VIEW T& operator()(Index r, Index c) const { return data[r * row_stride + c * col_stride]; }
    FASTBP_VIEW bool empty() const { return data == nullptr; }
    FASTBP_VIEW Matrix transposed() const { return {data, cols, rows, col_stride, row_stride}; }
    FASTBP_VIEW Matrix row_block(Index begin, Index end) const {
        return empty() ? *this : Matrix{data + begin * row_stride, end - begin, cols, row_stride, col_stride};
    }
    FASTBP_VIEW Matrix column_block(Index begin, Index end) const {
        return empty() ? *this : Matrix{data + begin * col_stride, rows, end - begin, row_stride, col_stride};
    }
    FASTBP_VIEW operator Matrix<const T>() const { return {data, rows, cols, row_stride, col_stride}; }
};

// A row-major matrix without gaps.
template <class T>
Matrix<T> dense(T* data, Index rows, Index cols) {
    return {data, rows, cols, cols, 1};
}

template <class T>
struct Vector {
    T* data = nullptr;
    Index size = 0;

    FASTBP_VIEW T& operator[](Index i) const { return data[i]; }
    FASTBP_VIEW bool empty() const { return data == nullptr; }
    FASTBP_VIEW Vector block(Index begin, Index end) const {
        return empty() ? *this : Vector{data + begin, end - begin};
    }
    FASTBP_VIEW operator Vector<const T>() const { return {data, size}; }
};

// Compressed sparse rows: row r holds values[starts[r] .. starts[r + 1]) in columns of the same positions.
template <class Real>
struct Csr {
    const Index* starts = nullptr;
    const Index* columns = nullptr;
    const Real* values = nullptr;
    Index rows = 0, cols = 0;

    FASTBP_VIEW Csr row_block(Index begin, Index end) const {
        return {starts + begin, columns, values, end - begin, cols};
    }
    // The stored numbers as one row.
    Matrix<const Real> kept_numbers() const {
        const Index begin = rows > 0 ? starts[0] : 0, end = rows > 0 ? starts[rows] : 0;
        return {values + begin, 1, end - begin, end - begin, 1};
    }
};

// What a caller's array may hold. The order is that of fastbp.h.
enum class NumberType : std::int32_t {
    float32 = 0,
    float64 = 1,
    float16 = 2,
    long_double = 3,
    boolean = 4,
    int8 = 5,
    int16 = 6,
    int32 = 7,
    int64 = 8,
    uint8 = 9,
    uint16 = 10,
    uint32 = 11,
    uint64 = 12,
};

inline Index bytes_of(NumberType type) {
    switch (type) {
        case NumberType::boolean:
        case NumberType::int8:
        case NumberType::uint8: return 1;
        case NumberType::float16:
        case NumberType::int16:
        case NumberType::uint16: return 2;
        case NumberType::float32:
        case NumberType::int32:
        case NumberType::uint32: return 4;
        case NumberType::long_double: return sizeof(long double);
        case NumberType::float64:
        case NumberType::int64:
        case NumberType::uint64: break;
    }
    return 8;
}

// Rows of a caller's array in any layout: strides in bytes, of any sign, and numbers that may be unaligned or in the
// other byte order. If `starts` is not null, the rows are compressed, and `data` holds the stored numbers with stride
// col_stride. `load_rows` and `load_csr` copy them into a tile.
struct RowSource {
    const std::byte* data = nullptr;
    NumberType type = NumberType::float32;
    bool byte_swapped = false;
    Index rows = 0, cols = 0;
    Index row_stride = 0, col_stride = 0;

    bool on_device = false;  // all of it is in the backend's memory, which the process cannot read

    const std::byte* columns = nullptr;  // of compressed rows, like starts
    const std::byte* starts = nullptr;
    NumberType index_type = NumberType::int64;

    bool empty() const { return data == nullptr && starts == nullptr; }
    bool compressed() const { return starts != nullptr; }
    Index start(Index row) const { return index(starts, row); }
    Index column(Index k) const { return index(columns, k); }
    RowSource from_column(Index begin) const {
        RowSource part = *this;
        part.data += begin * col_stride;
        part.cols -= begin;
        return part;
    }

  private:
    Index index(const std::byte* at, Index k) const {
        if (index_type == NumberType::int64) return reinterpret_cast<const std::int64_t*>(at)[k];
        return reinterpret_cast<const std::int32_t*>(at)[k];
    }
};

// The destination of a tile of compressed rows.
template <class Real>
struct CsrTile {
    Index* starts = nullptr;  // rows + 1
    Index* columns = nullptr;
    Real* values = nullptr;
};

// `count` rows of a source. If `order` is given, they are order[first], order[first + 1], ..; otherwise first, first +
// 1, .. `moved`, if not null, is added to `first` when the operation runs.
struct RowRange {
    const Index* order = nullptr;
    Index first = 0, count = 0;
    const Index* moved = nullptr;

    FASTBP_VIEW Index operator[](Index i) const {
        const Index at = first + i + (moved ? *moved : 0);
        return order ? order[at] : at;
    }
    RowRange block(Index begin, Index end) const { return {order, first + begin, end - begin, moved}; }
};

}  // namespace fastbp
