// The processors that the system lets a thread run on.
#pragma once

#include <array>
#include <cstddef>

namespace fastbp {

class Affinity {
  public:
    // The mask of the calling thread. It is empty if the system refuses to tell.
    static Affinity of_this_thread();

    int count() const;

    // Set the mask of the calling thread; false if the system refuses.
    bool apply() const;

    // The mask with the processor that the calling thread runs on, and no other.
    Affinity current_processor_only() const;

    bool operator==(const Affinity&) const = default;

  private:
    static constexpr std::size_t most_processors = 65536;
    std::array<unsigned long, most_processors / (8 * sizeof(unsigned long))> words_{};
    std::size_t bytes_ = 0;  // the part of the mask in use: the system refuses masks of less than its own size
};

}  // namespace fastbp
