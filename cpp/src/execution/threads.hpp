// The number of threads that a call may use: one number for the process, and a limit for each calling thread.
#pragma once

namespace fastbp {

// The number in force in the calling thread: its own limit if it has one, else the number of the process. That is the
// number set, else FASTBP_NUM_THREADS, else OMP_NUM_THREADS (joblib's workers set it), else available_threads(). The
// variables are read when the library is loaded.
int num_threads();

// The same, after a new look at the affinity if it matters.
int num_threads_now();

// Set the number of the process. n >= 1 may exceed the number of processors; 0 restores the default.
void set_num_threads(int n);

// The limit of the calling thread. It replaces the number of the process, even if it is larger; 0 means no limit.
int thread_limit();
void set_thread_limit(int n);

// The processors that the calling thread may run on: its affinity, and the quota of the process's control groups,
// rounded up. At least 1. A change of the affinity is noticed after 10 ms at the latest, one of the quota after a
// second.
int available_threads();

// FASTBP_TEAM: every call that uses threads at all gets this many, for tests; 0 where it is not set.
int forced_team();

}  // namespace fastbp
