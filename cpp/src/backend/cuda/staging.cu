#include "backend/cuda/staging.hpp"

#include <algorithm>

#include "seam/load_rows.hpp"

namespace fastbp::cuda {
namespace {

// Spreads the columns from `begin` of compressed rows into a dense tile.
template <class To>
void spread_rows(const RowSource& source, RowRange rows, Index begin, Matrix<To> tile) {
    constexpr Index most = 64;
    for (Index i = 0; i < tile.rows; ++i) {
        for (Index j = 0; j < tile.cols; ++j) tile(i, j) = 0;
        const Index end = source.start(rows[i] + 1);
        for (Index k = source.start(rows[i]); k < end; k += most) {
            const Index n = std::min(most, end - k);
            To values[most];
            RowSource part = source;
            part.data += k * source.col_stride;
            fastbp::load_rows(part, {nullptr, 0, 1}, Matrix<To>{values, 1, n, n, 1});
            for (Index at = 0; at < n; ++at) {
                const Index j = source.column(k + at) - begin;
                if (j >= 0 && j < tile.cols) tile(i, j) = values[at];
            }
        }
    }
}

}  // namespace

Staging::Staging(Queue& queue) noexcept : queue_(queue) {
    void* memory = nullptr;
    queue.failure.note(cudaHostAlloc(&memory, buffers * buffer_bytes, cudaHostAllocDefault),
                       "allocating pinned memory");
    memory_ = static_cast<std::byte*>(memory);
    for (cudaEvent_t& event : copied_)
        queue.failure.note(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
}

Staging::~Staging() {
    for (cudaEvent_t event : copied_)
        if (event != nullptr) cudaEventDestroy(event);
    cudaFreeHost(memory_);
}

void* Staging::next_buffer() noexcept {
    queue_.used_host_memory = true;
    turn_ = (turn_ + 1) % buffers;
    queue_.failure.note(cudaEventSynchronize(copied_[turn_]), "waiting for a copy to the device");
    return memory_ + std::size_t(turn_) * buffer_bytes;
}

// Copies the current buffer to the device. Both matrices have unit stride in the same direction.
template <class To>
void Staging::send(Matrix<To> filled, Matrix<To> tile) noexcept {
    if (tile.col_stride != 1) return send(filled.transposed(), tile.transposed());
    std::size_t width = std::size_t(tile.cols) * sizeof(To), rows = std::size_t(tile.rows);
    std::size_t pitch = std::max(width, std::size_t(tile.row_stride) * sizeof(To));
    if (pitch == width || rows == 1) {
        pitch = width *= rows;
        rows = 1;
    }
    queue_.failure.note(
        cudaMemcpy2DAsync(tile.data, pitch, filled.data, width, width, rows, cudaMemcpyHostToDevice, queue_.stream),
        "copying rows to the device");
    queue_.failure.note(cudaEventRecord(copied_[turn_], queue_.stream), "noting a copy to the device");
}

template <class To>
void Staging::load_rows(const RowSource& source, RowRange rows, Matrix<To> tile) noexcept {
    const Index room = Index(buffer_bytes / sizeof(To));
    const Index cols = std::min(tile.cols, room), count = room / std::max<Index>(1, cols);
    for (Index r = 0; r < tile.rows; r += count)
        for (Index j = 0; j < tile.cols; j += cols) {
            const Matrix<To> block =
                tile.row_block(r, std::min(r + count, tile.rows)).column_block(j, std::min(j + cols, tile.cols));
            To* buffer = static_cast<To*>(next_buffer());
            const Matrix<To> filled = tile.col_stride == 1 ? dense(buffer, block.rows, block.cols)
                                                           : dense(buffer, block.cols, block.rows).transposed();
            const RowRange these = rows.block(r, r + block.rows);
            if (source.compressed())
                spread_rows(source, these, j, filled);
            else
                fastbp::load_rows(source.from_column(j), these, filled);
            send(filled, block);
        }
}

template void Staging::load_rows(const RowSource&, RowRange, Matrix<float>) noexcept;
template void Staging::load_rows(const RowSource&, RowRange, Matrix<double>) noexcept;
template void Staging::load_rows(const RowSource&, RowRange, Matrix<std::int32_t>) noexcept;

}  // namespace fastbp::cuda
