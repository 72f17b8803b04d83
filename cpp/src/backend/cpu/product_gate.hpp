// Admits threads to the products of the BLAS. OpenBLAS by itself ends the process if it cannot allocate a buffer,
// leaves a locked mutex to the child of a fork, and unmaps its buffers at exit while threads use them.
#pragma once

#include <atomic>
#include <cstddef>

namespace fastbp::cpu {

// At most as many products run at the same time as there are buffers. If memory for one more buffer is available, one
// thread at a time is admitted beyond that number, and the library allocates the buffer. Otherwise a thread waits until
// a product ends. A fork waits until no product runs, and so does exit.
class ProductGate {
  public:
    // One product of the calling thread, which ends with the scope.
    class Pass {
      public:
        explicit Pass(ProductGate& gate) : gate_(gate) {
            const std::size_t before = gate.state_.fetch_add(1, std::memory_order_acquire);
            if (before >= gate.buffers_.load(std::memory_order_relaxed)) enter_slowly();
            if (admitted_) ++passes_of_this_thread;
        }
        ~Pass() {
            if (!admitted_) return;
            --passes_of_this_thread;
            if (grows_)
                leave_after_growth();
            else
                gate_.state_.fetch_sub(1, std::memory_order_release);
        }
        Pass(const Pass&) = delete;
        Pass& operator=(const Pass&) = delete;

        // False while the process exits: the BLAS must not be called.
        explicit operator bool() const { return admitted_; }

      private:
        void enter_slowly() noexcept;
        void leave_after_growth() noexcept;

        ProductGate& gate_;
        bool admitted_ = true;
        bool grows_ = false;  // is the thread beyond the number of buffers
        std::size_t pages_before_ = 0;
    };

    // The gate of the process, which has one BLAS.
    static ProductGate& get();

    // Call it when the library is loaded and has one buffer of `buffer_bytes`, which it allocates for each product that
    // runs at the same time; 0 if it allocates nothing.
    void open(std::size_t buffer_bytes);

    void begin_fork();
    void end_fork_in_parent();
    void end_fork_in_child();

  private:
    // state_ is the number of products under way, plus `forks` for each fork under way, plus flags.
    static constexpr std::size_t unlimited = std::size_t(1) << 40, count = unlimited - 1, forks = std::size_t(1) << 42,
                                 all_forks = 0xffff * forks, grows = std::size_t(1) << 60, exits = std::size_t(1) << 61;
    static inline constinit thread_local std::size_t passes_of_this_thread = 0;

    void close_for_exit();
    void wait_for_others() const noexcept;

    std::atomic<std::size_t> state_{0};
    std::atomic<std::size_t> buffers_{0};
    std::size_t buffer_bytes_ = 0;
};

// True if the process can have this much memory now.
bool memory_is_available(std::size_t bytes);

}  // namespace fastbp::cpu
