// The caller's way to be asked now and then, between tiles, whether to go on.
#pragma once

#include <chrono>

#include "execution/call_back.hpp"

namespace fastbp {

class Poll {
  public:
    // function(context) not 0: stop.
    Poll(int (*function)(void*), void* context) : function_(function), context_(context) {}

    // Asks where `interval` has passed since it last did; true is a request to stop. For the calling thread alone.
    bool wants_stop() {
        if (function_ == nullptr) return false;
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < interval) return false;
        last_ = now;
        return call_back(function_, context_) != 0;
    }

  private:
    static constexpr std::chrono::milliseconds interval{20};
    int (*function_)(void*);
    void* context_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace fastbp
