// The caller's function that is asked, during a call, whether to stop.
#pragma once

#include <chrono>

#include "execution/call_back.hpp"

namespace fastbp {

class Poll {
  public:
    // function(context) != 0 means stop.
    Poll(int (*function)(void*), void* context) : function_(function), context_(context) {}

    // True if the caller wants to stop. Asks at most once per `interval`, and reads the clock only after work that
    // should have taken `least_work` seconds. `seconds` is the expected time of the work since the last call; 0 means
    // unknown. For the calling thread alone.
    bool wants_stop(double seconds) {
        if (function_ == nullptr) return false;
        work_ += seconds > 0 ? seconds : least_work;
        if (work_ < least_work) return false;
        work_ = 0;
        const auto now = std::chrono::steady_clock::now();
        if (now - last_ < interval) return false;
        last_ = now;
        return call_back(function_, context_) != 0;
    }

  private:
    static constexpr std::chrono::milliseconds interval{20};
    static constexpr double least_work = 2e-3;
    int (*function_)(void*);
    void* context_;
    double work_ = 0;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace fastbp
