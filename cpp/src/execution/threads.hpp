// How many threads a call may use: a ceiling for the process.
#pragma once

namespace fastbp {

// What was set, else FASTBP_NUM_THREADS, else OMP_NUM_THREADS (joblib's workers set it), else available_threads().
int num_threads();

// n >= 1; also beyond the machine's processors. 0 goes back to the default.
void set_num_threads(int n);

// The processors this process may run on: its affinity, and the quota of its cgroup rounded up. At least 1.
int available_threads();

// FASTBP_TEAM: every call that uses threads at all gets this many, for tests; 0 where it is not set.
int forced_team();

}  // namespace fastbp
