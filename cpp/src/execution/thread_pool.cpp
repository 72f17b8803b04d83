#include "execution/thread_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <exception>

#include "execution/threads.hpp"
#include "seam/error.hpp"
#include "system/floating_point_mode.hpp"

namespace fastbp {
namespace {

// Between jobs: the pause between a program's calls in a loop, not an idle program's.
constexpr std::chrono::microseconds spin_between_jobs{50};
// The stack of a worker, whatever the limit of the process (ulimit -s) is.
constexpr std::size_t stack_bytes = std::size_t(2) << 20;

std::atomic<ThreadPool*> the_pool{nullptr};
thread_local Barrier* barrier_of_this_thread = nullptr;  // of the job that this thread has given to the pool

// The child of a fork has none of its parent's threads. It leaves the old pool as it is, and a call that forked in a
// callback waits for nobody.
void forget_pool() {
    the_pool.store(nullptr, std::memory_order_relaxed);
    if (barrier_of_this_thread != nullptr) barrier_of_this_thread->dismiss_others();
}

// Registered when the library is loaded. A handler that is registered while another thread forks does not run in the
// child of that fork.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget_pool);

// Names the barrier of a call for its scope.
class NamedBarrier {
  public:
    explicit NamedBarrier(Barrier& barrier) : outer_(barrier_of_this_thread) { barrier_of_this_thread = &barrier; }
    ~NamedBarrier() { barrier_of_this_thread = outer_; }
    NamedBarrier(const NamedBarrier&) = delete;
    NamedBarrier& operator=(const NamedBarrier&) = delete;

  private:
    Barrier* const outer_;
};

TeamReport run_alone(const TeamWork& work) {
    Barrier barrier(1);
    work(Member{0, barrier});
    return {};
}

}  // namespace

// Reserves the pool for one call, if no other call has it.
class ThreadPool::Turn {
  public:
    explicit Turn(ThreadPool& pool) : pool_(pool), has_it_(!pool.busy_.exchange(true, std::memory_order_acquire)) {}
    ~Turn() {
        if (has_it_) pool_.busy_.store(false, std::memory_order_release);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    explicit operator bool() const { return has_it_; }

  private:
    ThreadPool& pool_;
    const bool has_it_;
};

ThreadPool& ThreadPool::get() {
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

bool ThreadPool::sleeps() const {
    return std::chrono::steady_clock::now() - last_end_.load(std::memory_order_relaxed) > spin_between_jobs;
}

TeamReport ThreadPool::run(int team, const TeamWork& work) {
    if (team <= 1) return run_alone(work);
    const Turn turn(*this);
    if (!turn) return run_alone(work);
    const int helpers = start_workers(team - 1);
    if (helpers == 0) return run_alone(work);
    // Spinning where threads outnumber processors would keep those from running that are waited for.
    const bool spins = helpers + 1 <= available_threads();
    Barrier barrier(helpers + 1, spins ? Barrier::default_spin : std::chrono::nanoseconds(0));
    const NamedBarrier named(barrier);
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
    if (barrier.team() != helpers + 1)
        throw Error(ErrorKind::runtime,
                    "the process was forked in a callback of this call, and the child has not the threads that the "
                    "call runs on; expected the callback to end the child, or a call with one thread");
    for (int left = running_.load(std::memory_order_acquire); left != 0;
         left = running_.load(std::memory_order_acquire))
        barrier.note_late(wait_for_change(running_, left, spin_time_));
    last_end_.store(std::chrono::steady_clock::now(), std::memory_order_relaxed);
    return {helpers + 1, barrier.late_seconds()};
}

int ThreadPool::start_workers(int wanted) {
    while (int(workers_.size()) < wanted) {
        try {
            auto worker = std::make_unique<Worker>(*this, int(workers_.size()) + 1);
            const std::lock_guard<std::mutex> lock(list_mutex_);
            workers_.reserve(workers_.size() + 1);
            if (!start_thread(*worker)) break;
            workers_.push_back(std::move(worker));
        } catch (const std::exception&) {  // memory for the list
            break;
        }
    }
    return std::min(wanted, int(workers_.size()));
}

bool ThreadPool::start_thread(Worker& worker) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    const auto body = [](void* self) -> void* {
        Worker& mine = *static_cast<Worker*>(self);
        mine.pool.serve(mine);
        return nullptr;
    };
    pthread_t thread;
    const int failed = pthread_create(&thread, &attributes, body, &worker);
    pthread_attr_destroy(&attributes);
    return failed == 0;
}

void ThreadPool::serve(Worker& worker) {
    const DefaultFloatingPointMode mode;  // not that of the thread that started this one
    unsigned seen = 0;
    std::chrono::nanoseconds spin_time = spin_between_jobs;
    for (;;) {
        wait_for_change(worker.ticket, seen, spin_time);
        ++seen;
        worker.taken.fetch_add(1, std::memory_order_relaxed);
        spin_time = spin_time_;
        (*work_)(Member{worker.index, *barrier_});
        if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_one();
    }
}

std::vector<long> ThreadPool::jobs_taken() {
    const std::lock_guard<std::mutex> lock(list_mutex_);
    std::vector<long> taken{own_taken_.load(std::memory_order_relaxed)};
    for (const auto& worker : workers_) taken.push_back(worker->taken.load(std::memory_order_relaxed));
    return taken;
}

}  // namespace fastbp
