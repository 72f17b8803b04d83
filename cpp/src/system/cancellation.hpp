// The cancellation of threads by pthread_cancel.
#pragma once

#include <pthread.h>

namespace fastbp {

// Puts off a cancellation of this thread (pthread_cancel) until the call has returned. A cancellation unwinds the stack
// where it happens, in a callback for example. Other members of the team use the job and the barrier on that stack, and
// would wait for this thread. No code in between could stop it: a handler that does not rethrow ends the process.
class CancellationDelay {
  public:
    CancellationDelay() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    ~CancellationDelay() { pthread_setcancelstate(before_, nullptr); }
    CancellationDelay(const CancellationDelay&) = delete;
    CancellationDelay& operator=(const CancellationDelay&) = delete;

  private:
    int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace fastbp
