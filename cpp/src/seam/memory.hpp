// A backend's memory: allocation, copies from and to the process's memory, and checks of data before a pass.
#pragma once

#include <cstddef>

#include "seam/number_rule.hpp"

namespace fastbp {

class Memory {
  public:
    virtual ~Memory() = default;

    // Memory aligned to 64 bytes, or nullptr. The only operation that allocates; never called inside a pass.
    virtual void* allocate(std::size_t bytes) noexcept = 0;
    virtual void release(void* memory) noexcept = 0;
    // Copies from and to the process's memory. The caller may change `from` when upload returns. The result of download
    // is complete when it returns.
    virtual void upload(const void* from, void* to, std::size_t bytes) noexcept = 0;
    virtual void download(const void* from, void* to, std::size_t bytes) noexcept = 0;
    // Copies within the backend's memory. The two ranges must not overlap.
    virtual void copy_bytes(const void* from, void* to, std::size_t bytes) noexcept = 0;
    // Check targets and weights before a pass. The results are in the process's memory when these return.
    // *misfits = the number of numbers, and of sums of rows, that break the rule.
    virtual void count_misfits(const RowSource& numbers, const NumberRule& rule, Index* misfits) noexcept = 0;
    // sums[k] = the sum of c over the rows k batch to (k + 1) batch, divided by the number of columns of c.
    virtual void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) noexcept = 0;
};

}  // namespace fastbp
