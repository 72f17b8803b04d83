#include "seam/load_rows.hpp"

#include <cstring>
#include <type_traits>

#include "seam/numbers.hpp"

namespace fastbp {
namespace {

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
    if (source.type == NumberType::long_double) return convert_rows<long double>(source, rows, tile);
    with_number(source.type, [&](auto from) { convert_rows<decltype(from)>(source, rows, tile); });
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
