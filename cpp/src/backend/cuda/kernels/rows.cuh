// Rows of an array that lies on the device, of any dtype and strides, into a tile.
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
    each_element(
        tile.rows, tile.cols,
        [=](Index i, Index j) {
            return number_at<From, To>(source.data + rows[i] * source.row_stride + j * source.col_stride);
        },
        [=](Index i, Index j, To value) { tile(i, j) = value; });
}

// ---- compressed rows -----------------------------------------------------------------------------------------

__device__ inline Index index_at(const RowSource& source, const std::byte* list, Index k) {
    return source.index_type == NumberType::int64 ? Index(reinterpret_cast<const std::int64_t*>(list)[k])
                                                  : Index(reinterpret_cast<const std::int32_t*>(list)[k]);
}

template <class From, class To>
__global__ void spread_rows(RowSource source, RowRange rows, Matrix<To> tile) {
    each_row(tile.rows, [=](Index i) {
        each_column(tile.cols, [=](Index j) { tile(i, j) = 0; });
        __syncwarp();
        const Index begin = index_at(source, source.starts, rows[i]);
        each_column(index_at(source, source.starts, rows[i] + 1) - begin, [=](Index k) {
            const Index at = begin + k;
            tile(i, index_at(source, source.columns, at)) = number_at<From, To>(source.data + at * source.col_stride);
        });
    });
}

// One thread: each start follows from the one before.
__global__ static void count_starts(RowSource source, RowRange rows, Index* starts) {
    starts[0] = 0;
    for (Index i = 0; i < rows.count; ++i)
        starts[i + 1] =
            starts[i] + index_at(source, source.starts, rows[i] + 1) - index_at(source, source.starts, rows[i]);
}

template <class From, class Real>
__global__ void gather_compressed(RowSource source, RowRange rows, CsrTile<Real> tile) {
    each_row(rows.count, [=](Index i) {
        const Index begin = index_at(source, source.starts, rows[i]), to = tile.starts[i];
        each_column(tile.starts[i + 1] - to, [=](Index k) {
            tile.columns[to + k] = index_at(source, source.columns, begin + k);
            tile.values[to + k] = number_at<From, Real>(source.data + (begin + k) * source.col_stride);
        });
    });
}

// ---- the types of numbers that lie on a device ---------------------------------------------------------------

template <class Body>
void with_device_number(NumberType type, Body body) {
    with_number(type, [&](auto number) {
        if constexpr (!std::is_same_v<decltype(number), long double>) body(number);
    });
}

template <class To>
void load_rows(Queue& queue, const RowSource& source, RowRange rows, Matrix<To> tile) {
    with_device_number(source.type, [&](auto from) {
        using From = decltype(from);
        if (source.compressed())
            queue.launch(spread_rows<From, To>, over_rows(tile.rows), source, rows, tile);
        else
            queue.launch(gather_rows<From, To>, over_elements(tile), source, rows, tile);
    });
}

template <class Real>
void load_csr(Queue& queue, const RowSource& source, RowRange rows, CsrTile<Real> tile) {
    queue.launch(count_starts, {dim3(1), dim3(1)}, source, rows, tile.starts);
    with_device_number(source.type, [&](auto from) {
        queue.launch(gather_compressed<decltype(from), Real>, over_rows(rows.count), source, rows, tile);
    });
}

}  // namespace fastbp::cuda
