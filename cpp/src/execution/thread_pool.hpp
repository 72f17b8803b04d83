// The process's one pool of plain threads. Started when first needed, asleep between calls, made anew after fork.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "execution/barrier.hpp"

namespace fastbp {

class ThreadPool {
  public:
    static ThreadPool& get();

    // The work by a team of the given size, the caller among them; returns when all have returned. Where another caller
    // has the pool, or no thread can be started, the caller is its own team of one: a plan's bits do not depend on who
    // carries it out. So it is too where the pool has gone to sleep and the job is done sooner than it wakes: `seconds`
    // is what one thread is thought to need.
    void run(int team, double seconds, const TeamWork& work);

    // How many pieces of work each member has taken since the process began: for tests.
    std::vector<long> jobs_taken();

  private:
    struct Worker {
        std::thread thread;
        alignas(64) std::atomic<unsigned> ticket{0};  // moves on when there is a job
        std::atomic<long> taken{0};
    };

    bool sleeps() const;
    // As many workers as can be had, at most `wanted`.
    int start_workers(int wanted);
    void serve(Worker& worker, int index);

    std::mutex busy_;
    std::chrono::steady_clock::time_point last_end_{};  // of a job; under busy_, like the workers
    std::vector<std::unique_ptr<Worker>> workers_;      // worker k is member k + 1
    std::atomic<long> own_taken_{0};
    // The job at hand, written by the caller before the tickets move.
    const TeamWork* work_ = nullptr;
    Barrier* barrier_ = nullptr;
    std::chrono::nanoseconds spin_time_{0};
    alignas(64) std::atomic<int> running_{0};
};

}  // namespace fastbp
