#include "system/made_once.hpp"

#include <pthread.h>

#include <mutex>

namespace fastbp {
namespace {

std::mutex mutex;
thread_local int depth = 0;  // of this thread's locks

void lock() {
    if (depth++ == 0) mutex.lock();
}

void unlock() {
    if (--depth == 0) mutex.unlock();
}

// Registered when the library is loaded: a handler that is registered during a fork may not run.
[[maybe_unused]] const int registered = pthread_atfork(lock, unlock, unlock);

}  // namespace

ForkLock::ForkLock() { lock(); }
ForkLock::~ForkLock() { unlock(); }

}  // namespace fastbp
