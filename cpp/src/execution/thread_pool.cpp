#include "execution/thread_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <system_error>

#include "execution/threads.hpp"

namespace fastbp {
namespace {

// Between jobs: the pause between a program's calls in a loop, not an idle program's.
constexpr std::chrono::microseconds spin_between_jobs{50};
// Waking costs 30 to 60 us: what a shorter job could gain from a second thread.
constexpr double worth_waking = 100e-6;

std::atomic<ThreadPool*> the_pool{nullptr};

// The child of a fork has none of its parent's threads: it leaves the old pool alone and starts another when it needs
// one.
void forget_pool() { the_pool.store(nullptr, std::memory_order_relaxed); }

}  // namespace

ThreadPool& ThreadPool::get() {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    ThreadPool* pool = the_pool.load(std::memory_order_acquire);
    if (pool == nullptr) {
        ThreadPool* fresh = new ThreadPool();  // never deleted: its threads may outlive every static object
        if (the_pool.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel))
            pool = fresh;
        else
            delete fresh;
    }
    return *pool;
}

bool ThreadPool::sleeps() const { return std::chrono::steady_clock::now() - last_end_ > spin_between_jobs; }

void ThreadPool::run(int team, double seconds, const TeamWork& work) {
    const std::unique_lock<std::mutex> lock(busy_, std::try_to_lock);
    const bool shared = lock.owns_lock() && team > 1 && !(seconds < worth_waking && sleeps());
    const int helpers = shared ? start_workers(team - 1) : 0;
    // Spinning where threads outnumber processors would keep those from running that are waited for.
    const bool spins = helpers + 1 <= available_threads();
    Barrier barrier(helpers + 1, spins ? Barrier::default_spin : std::chrono::nanoseconds(0));
    if (helpers == 0) {
        work(Member{0, barrier});
        if (lock.owns_lock() && team > 1) last_end_ = std::chrono::steady_clock::now();
        return;
    }
    work_ = &work;
    barrier_ = &barrier;
    spin_time_ = spins ? spin_between_jobs : std::chrono::nanoseconds(0);
    running_.store(helpers, std::memory_order_relaxed);
    for (int k = 0; k < helpers; ++k) {
        workers_[std::size_t(k)]->ticket.fetch_add(1, std::memory_order_release);
        workers_[std::size_t(k)]->ticket.notify_one();
    }
    own_taken_.fetch_add(1, std::memory_order_relaxed);
    work(Member{0, barrier});
    for (int left = running_.load(std::memory_order_acquire); left != 0;
         left = running_.load(std::memory_order_acquire))
        wait_for_change(running_, left, spin_time_);
    last_end_ = std::chrono::steady_clock::now();
}

int ThreadPool::start_workers(int wanted) {
    while (int(workers_.size()) < wanted) {
        try {
            auto worker = std::make_unique<Worker>();
            Worker& reference = *worker;
            const int index = int(workers_.size()) + 1;
            workers_.push_back(std::move(worker));
            reference.thread = std::thread([this, &reference, index] { serve(reference, index); });
        } catch (const std::system_error&) {  // the system has no thread to give
            workers_.pop_back();
            break;
        }
    }
    return std::min(wanted, int(workers_.size()));
}

void ThreadPool::serve(Worker& worker, int index) {
    unsigned seen = 0;
    std::chrono::nanoseconds spin_time = spin_between_jobs;
    for (;;) {
        wait_for_change(worker.ticket, seen, spin_time);
        ++seen;
        worker.taken.fetch_add(1, std::memory_order_relaxed);
        spin_time = spin_time_;
        (*work_)(Member{index, *barrier_});
        if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
    }
}

std::vector<long> ThreadPool::jobs_taken() {
    const std::lock_guard<std::mutex> lock(busy_);
    std::vector<long> taken{own_taken_.load(std::memory_order_relaxed)};
    for (const auto& worker : workers_) taken.push_back(worker->taken.load(std::memory_order_relaxed));
    return taken;
}

}  // namespace fastbp
