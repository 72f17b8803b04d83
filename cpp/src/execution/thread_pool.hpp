// The process's one pool of threads. Its threads start when first needed and sleep between calls. The child of a fork
// gets a pool of its own.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "execution/barrier.hpp"

namespace fastbp {

class ThreadPool {
  public:
    static ThreadPool& get();

    // Runs the work on a team of at most the given size, the caller among them, and reports the team's size when all
    // members have returned. The caller runs alone if another call uses the pool, or if no thread can be started. The
    // bits of a plan's results do not depend on the size of the team. Throws Error in the child of a fork that a member
    // made during the work, because the child has none of the other members.
    TeamReport run(int team, const TeamWork& work);

    // True if the threads have gone to sleep after the last job. Waking them takes 30 to 60 us.
    bool sleeps() const;

    // The number of jobs that each member has worked on since the process began: for tests. Never waits for a job.
    std::vector<long> jobs_taken();

  private:
    struct Worker {
        Worker(ThreadPool& owner, int place) : pool(owner), index(place) {}
        ThreadPool& pool;
        const int index;                              // in a team
        alignas(64) std::atomic<unsigned> ticket{0};  // changes when there is a job
        std::atomic<long> taken{0};
    };
    class Turn;

    // Returns the number of workers to use, at most `wanted`: fewer if a thread cannot be started.
    int start_workers(int wanted);
    // True if the worker's thread runs.
    static bool start_thread(Worker& worker);
    void serve(Worker& worker);

    std::atomic<bool> busy_{false};
    std::atomic<std::chrono::steady_clock::time_point> last_end_{};  // of a job
    std::mutex list_mutex_;                         // for workers_, which only the call that has the pool extends
    std::vector<std::unique_ptr<Worker>> workers_;  // every one has a thread
    std::atomic<long> own_taken_{0};
    // The current job, written by the caller before the tickets change.
    const TeamWork* work_ = nullptr;
    Barrier* barrier_ = nullptr;
    std::chrono::nanoseconds spin_time_{0};
    alignas(64) std::atomic<int> running_{0};
};

}  // namespace fastbp
