// Load rows of an array in device memory, of any dtype and strides, into a tile. Such numbers are aligned and in the
// device's byte order.
#pragma once

#include "backend/cuda/kernels/grid.cuh"
#include "seam/numbers.hpp"

namespace fastbp::cuda {

template <class From, class To>
__device__ inline To number_at(const std::byte* at) {
    return convert<To>(number(*reinterpret_cast<const From*>(at)));
}

template <class From, class To>
__global__ void gather_rows(RowSource source, RowRange rows, Matrix<To> tile) {
    const RowRange here{rows.order, rows.first + (rows.moved == nullptr ? 0 : *rows.moved), rows.count};
    each_element(
        tile.rows, tile.cols,
        [=](Index i, Index j) {
            return number_at<From, To>(source.data + here[i] * source.row_stride + j * source.col_stride);
        },
        [=](Index i, Index j, To value) { tile(i, j) = value; });
}

// ---- compressed rows -----------------------------------------------------------------------------------------

template <class To>
__device__ inline To number_at(NumberType type, const std::byte* at) {
    To value = 0;
    with_number(type, [&](auto from) { value = number_at<decltype(from), To>(at); });
    return value;
}

__device__ inline Index index_at(const RowSource& source, const std::byte* list, Index k) {
    return source.index_type == NumberType::int64 ? Index(reinterpret_cast<const std::int64_t*>(list)[k])
                                                  : Index(reinterpret_cast<const std::int32_t*>(list)[k]);
}

template <class To>
__global__ void spread_rows(RowSource source, RowRange rows, Matrix<To> tile) {
    each_row(tile.rows, [&](Index i) {
        each_column(tile.cols, [&](Index j) { tile(i, j) = 0; });
        __syncwarp();
        const Index begin = index_at(source, source.starts, rows[i]);
        each_column(index_at(source, source.starts, rows[i] + 1) - begin, [&](Index k) {
            tile(i, index_at(source, source.columns, begin + k)) =
                number_at<To>(source.type, source.data + (begin + k) * source.col_stride);
        });
    });
}

// ---- which of them -------------------------------------------------------------------------------------------

template <class To>
void load_rows(Queue& queue, const RowSource& source, RowRange rows, Matrix<To> tile) {
    if (source.compressed()) return queue.launch(spread_rows<To>, over_rows(tile.rows), source, rows, tile);
    with_number(source.type, [&](auto from) {
        queue.launch(gather_rows<decltype(from), To>, over_elements(tile), source, rows, tile);
    });
}

}  // namespace fastbp::cuda
