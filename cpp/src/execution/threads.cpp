#include "execution/threads.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <new>
#include <string>

#include "system/affinity.hpp"
#include "system/cgroup.hpp"
#include "system/load_time.hpp"

namespace fastbp {
namespace {

constexpr int most_threads = 256;
constexpr std::int64_t second = 1'000'000'000;

std::atomic<int> chosen{0};
thread_local int limit_of_this_thread = 0;  // 0: none

// A whole number from 1 in the text; 0 if there is none.
int number_in(const std::string& text) { return std::clamp(std::atoi(text.c_str()), 0, most_threads); }

// Nanoseconds of a clock that moves every 1 to 10 ms and is read without a system call.
std::int64_t coarse_time() {
    timespec time = {};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    return time.tv_sec * second + time.tv_nsec;
}

// The quota in processors, rounded up; most_threads if there is none. Reading it takes several system calls, so it is
// read again after a second. No lock: a child of fork would find it taken if another thread was reading.
int quota(std::int64_t now) {
    static std::atomic<int> known{0};  // 0: not yet
    static std::atomic<std::int64_t> read_at{0};
    std::int64_t last = read_at.load(std::memory_order_relaxed);
    const int value = known.load(std::memory_order_relaxed);
    const bool due = now - last >= second;
    if (value > 0 && !(due && read_at.compare_exchange_strong(last, now, std::memory_order_relaxed))) return value;
    int fresh = most_threads;
    try {
        if (const double processors = cgroup_quota(); processors > 0)
            fresh = int(std::clamp(std::ceil(processors), 1.0, double(most_threads)));
    } catch (const std::bad_alloc&) {
        if (value > 0) return value;
    }
    known.store(fresh, std::memory_order_relaxed);
    return fresh;
}

// What the calling thread saw last. Each thread has an affinity of its own.
struct Seen {
    std::int64_t time = -1;
    int count = 1;
};
thread_local Seen seen;

void look(std::int64_t now) {
    seen = {now, std::clamp(std::min(Affinity::of_this_thread().count(), quota(now)), 1, most_threads)};
}

int default_threads() {
    if (const int n = number_in(at_load_time().num_threads)) return n;
    return number_in(at_load_time().omp_num_threads);
}

// 0: as many as there are processors.
const int by_default = default_threads();
const int team_by_environment = number_in(at_load_time().team);

}  // namespace

int available_threads() {
    if (const std::int64_t now = coarse_time(); now != seen.time) look(now);
    return seen.count;
}

int num_threads_now() {
    const bool is_set = limit_of_this_thread > 0 || chosen.load(std::memory_order_relaxed) > 0 || by_default > 0;
    if (!is_set) look(coarse_time());
    return num_threads();
}

int num_threads() {
    if (limit_of_this_thread > 0) return limit_of_this_thread;
    if (const int n = chosen.load(std::memory_order_relaxed); n > 0) return n;
    return by_default > 0 ? by_default : available_threads();
}

void set_num_threads(int n) { chosen.store(std::min(n, most_threads), std::memory_order_relaxed); }

int thread_limit() { return limit_of_this_thread; }

void set_thread_limit(int n) { limit_of_this_thread = std::min(n, most_threads); }

int forced_team() { return team_by_environment; }

}  // namespace fastbp
