// Copies a caller's rows from the process's memory into tiles on the device.
#pragma once

#include "backend/cuda/runtime.hpp"

namespace fastbp::cuda {

// A ring of pinned buffers. Rows are gathered into one buffer while the others are copied to the device.
class Staging {
  public:
    explicit Staging(Queue& queue) noexcept;
    ~Staging();
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

    // tile(i, j) = row rows[i] of the source, column j. Compressed rows are spread into the dense tile.
    template <class To>
    void load_rows(const RowSource& source, RowRange rows, Matrix<To> tile) noexcept;

  private:
    static constexpr int buffers = 4;
    static constexpr std::size_t buffer_bytes = std::size_t(1) << 18;

    void* next_buffer() noexcept;
    template <class To>
    void send(Matrix<To> filled, Matrix<To> tile) noexcept;

    Queue& queue_;
    std::byte* memory_ = nullptr;
    cudaEvent_t copied_[buffers] = {};
    int turn_ = 0;
};

}  // namespace fastbp::cuda
