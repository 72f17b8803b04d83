#include "execution/threads.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace fastbp {
namespace {

constexpr int most_threads = 256;

std::atomic<int> chosen{0};
thread_local int limit_of_this_thread = 0;  // 0: none

// A whole number from 1 in the variable; 0 where there is none.
int from_environment(const char* name) {
    const char* text = std::getenv(name);
    const int n = text == nullptr ? 0 : std::atoi(text);
    return std::clamp(n, 0, most_threads);
}

// The cgroup's quota in processors, 0 where there is none: "quota period" (version 2), or a file for each (version 1).
double cgroup_quota() {
    double quota = 0, period = 0;
    std::string text;
    if (std::ifstream two("/sys/fs/cgroup/cpu.max"); two >> text >> period)
        quota = text == "max" ? 0 : std::atof(text.c_str());
    else if (std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us"); q && p)
        q >> quota, p >> period;
    return quota > 0 && period > 0 ? quota / period : 0;
}

int count_available() {
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    if (const double quota = cgroup_quota(); quota > 0) count = std::min(count, int(std::ceil(quota)));
    return std::clamp(count, 1, most_threads);
}

int default_threads() {
    if (const int n = from_environment("FASTBP_NUM_THREADS")) return n;
    if (const int n = from_environment("OMP_NUM_THREADS")) return n;
    return available_threads();
}

}  // namespace

int available_threads() {
    static const int count = count_available();
    return count;
}

int num_threads() {
    if (limit_of_this_thread > 0) return limit_of_this_thread;
    static const int by_default = default_threads();
    const int n = chosen.load(std::memory_order_relaxed);
    return n > 0 ? n : by_default;
}

void set_num_threads(int n) { chosen.store(std::min(n, most_threads), std::memory_order_relaxed); }

int thread_limit() { return limit_of_this_thread; }

void set_thread_limit(int n) { limit_of_this_thread = std::min(n, most_threads); }

int forced_team() {
    static const int team = from_environment("FASTBP_TEAM");
    return team;
}

}  // namespace fastbp
