// The caller's way to be asked now and then, between tiles, whether to go on.
#pragma once

#include <chrono>

#include "seam/error.hpp"

namespace fastbp {

class Poll {
  public:
    // function(context) not 0: stop.
    Poll(int (*function)(void*), void* context) : function_(function), context_(context) {}

    // Asks where `interval` has passed since it last did. Throws Error(interrupted) on a request to stop.
    void operator()() {
        if (function_ == nullptr) return;
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < interval) return;
        last_ = now;
        if (function_(context_) != 0) throw Error(ErrorKind::interrupted, "interrupted");
    }

  private:
    static constexpr std::chrono::milliseconds interval{20};
    int (*function_)(void*);
    void* context_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace fastbp
