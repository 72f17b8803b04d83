// A few objects for reuse, shared by threads without a lock: the child of a fork can use it whatever other threads did.
#pragma once

#include <array>
#include <atomic>
#include <memory>

namespace fastbp {

// An object that another thread has taken out during a fork is missing in the child, which makes another.
template <class T, unsigned size = 4>
class FreeSlots {
  public:
    FreeSlots() = default;
    ~FreeSlots() {
        for (auto& slot : slots_) delete slot.load(std::memory_order_acquire);
    }
    FreeSlots(const FreeSlots&) = delete;
    FreeSlots& operator=(const FreeSlots&) = delete;

    // Takes out an object for which fits(object) is true, or returns null. If none fits and all slots are in use, one
    // is emptied, in turn, so that objects that fit find a place later.
    template <class Fits>
    std::unique_ptr<T> take(Fits fits) {
        unsigned in_use = 0;
        for (auto& slot : slots_) {
            std::unique_ptr<T> found(slot.exchange(nullptr, std::memory_order_acq_rel));
            if (found == nullptr) continue;
            if (fits(*found)) return found;
            ++in_use;
            put_into(slot, found);
        }
        if (in_use == size)
            delete slots_[next_.fetch_add(1, std::memory_order_relaxed) % size].exchange(nullptr,
                                                                                         std::memory_order_acq_rel);
        return nullptr;
    }

    // Keeps the object if a slot is free, and deletes it otherwise.
    void give(std::unique_ptr<T> object) noexcept {
        for (auto& slot : slots_)
            if (put_into(slot, object)) return;
    }

  private:
    static bool put_into(std::atomic<T*>& slot, std::unique_ptr<T>& object) noexcept {
        T* none = nullptr;
        if (!slot.compare_exchange_strong(none, object.get(), std::memory_order_acq_rel)) return false;
        static_cast<void>(object.release());
        return true;
    }

    std::array<std::atomic<T*>, size> slots_{};
    std::atomic<unsigned> next_{0};
};

}  // namespace fastbp
