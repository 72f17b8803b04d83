// The lock of a backend whose calls run one at a time.
#pragma once

#include <unistd.h>

#include <mutex>

namespace fastbp::cuda {

// A thread may nest its locks. The child of a fork does not wait: a thread that it has not may hold the lock, and CUDA
// refuses everything that the child asks for.
class CallLock {
  public:
    void lock() {
        if (is_child()) return;
        mutex_.lock();
    }
    void unlock() {
        if (is_child()) return;
        mutex_.unlock();
    }

  private:
    bool is_child() const { return getpid() != process_; }

    const pid_t process_ = getpid();
    std::recursive_mutex mutex_;
};

}  // namespace fastbp::cuda
