// Values that are made at their first use, by any thread, also while another thread forks.
#pragma once

#include <atomic>

namespace fastbp {

// While an object of this class exists, no other thread makes one, and a fork by another thread waits. So the child of
// a fork never finds something half made by a thread that it does not have. A thread may nest them.
class ForkLock {
  public:
    ForkLock();
    ~ForkLock();
    ForkLock(const ForkLock&) = delete;
    ForkLock& operator=(const ForkLock&) = delete;
};

// A value of static storage duration. It is never destroyed, because threads may use it while the process exits. (A
// static variable of a function would be, and its guard is not released in the child of a fork.)
template <class T>
class MadeOnce {
  public:
    // Returns the value. The first call makes it by `make`; if that throws, the next call tries again.
    template <class Make>
    const T& get(Make make) {
        if (const T* made = made_.load(std::memory_order_acquire)) return *made;
        const ForkLock lock;
        if (const T* made = made_.load(std::memory_order_acquire)) return *made;
        const T* made = new T(make());
        made_.store(made, std::memory_order_release);
        return *made;
    }

  private:
    std::atomic<const T*> made_{nullptr};
};

}  // namespace fastbp
