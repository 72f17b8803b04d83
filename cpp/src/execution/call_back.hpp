// Calls of the caller's functions: the poll, the loss function, the grad_hook.
#pragma once

#include "system/floating_point_mode.hpp"

namespace fastbp {

// The status that a callback returns, or 1 if it throws. An exception must not unwind this thread's stack: the other
// members of the team use the barrier and the job there, and would wait for this thread.
template <class... Parameters, class... Arguments>
int call_back(int (*function)(Parameters...), Arguments... arguments) {
    try {
        const CallersFloatingPointMode mode;
        return function(arguments...);
    } catch (...) {
        return 1;
    }
}

}  // namespace fastbp
