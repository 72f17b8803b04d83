// Threads run until they wait. Who waits for the block goes on when all of its threads have come to the same line; who
// waits for its warp, when its 32 lanes have. Anything else ends the program with what happened: on a device it would
// hang or, worse, seem to work. From block to block the order changes, so that a kernel without a barrier that it needs
// gives wrong numbers in one of them: threads begin from the first or from the last, and of those that may go on, who
// waited longest does, or who waited least, which holds the others back as far as barriers let it.
#include "grid.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "fibers.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_emulation {

namespace {

struct Order {
    bool backwards, last_first;
};

constexpr int lanes_per_warp = 32;
constexpr unsigned all_lanes = 0xffffffffU;

enum class State { not_begun, running, ready, waits_for_block, waits_for_warp, ended };

struct Thread {
    State state = State::not_begun;
    Fiber* on = nullptr;
    Place at;
};

// What the lanes of a warp hand over. Two sets in turn: a lane may give its next value while others have yet to read
// the last one, but never the one after.
struct Warp {
    int arrived = 0, ended = 0, turn = 0;
    WarpOperation operation{};
    Place at;
    std::uint64_t values[2][lanes_per_warp];
};

class Block {
  public:
    void run(const std::function<void()>& thread, int size, Order order);
    int current() const { return current_; }
    void wait_for_block(Place at);
    int wait_for_warp(WarpOperation operation, unsigned mask, std::uint64_t value, Place at);
    const Warp& warp() const { return warps_[std::size_t(current_ / lanes_per_warp)]; }

  private:
    static void work();
    bool begin_next();
    void end();
    void give_way();
    void leave(Fiber& mine);
    void go_on_as(int thread);
    Fiber& idle_fiber();
    Fiber& next_fiber();
    void release(int first, int last);
    [[noreturn]] void complain(int thread, Place at, const char* what) const;
    [[noreturn]] void complain_of_waiting() const;

    const std::function<void()>* body_ = nullptr;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    std::deque<int> ready_;
    int size_ = 0, begun_ = 0, ended_ = 0, at_barrier_ = 0, current_ = 0;
    Order order_{};
    Place barrier_;

    Fiber home_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> idle_;
    Fiber* running_ = nullptr;
};

Block block;
std::mutex one_launch;

void Block::run(const std::function<void()>& thread, int size, Order order) {
    body_ = &thread;
    size_ = size;
    order_ = order;
    begun_ = ended_ = at_barrier_ = 0;
    threads_.assign(std::size_t(size), {});
    warps_.assign(std::size_t((size + lanes_per_warp - 1) / lanes_per_warp), {});
    running_ = &idle_fiber();
    home_.change_to(*running_);
}

Fiber& Block::idle_fiber() {
    if (idle_.empty()) {
        fibers_.push_back(std::make_unique<Fiber>(&Block::work));
        return *fibers_.back();
    }
    Fiber& fiber = *idle_.back();
    idle_.pop_back();
    return fiber;
}

// What runs on every stack of the pool. Threads that do not wait follow each other here, without a change.
void Block::work() {
    for (;;) {
        Fiber& mine = *block.running_;
        while (block.begin_next()) {
            (*block.body_)();
            block.end();
        }
        block.leave(mine);
    }
}

void Block::go_on_as(int thread) {
    const unsigned t = unsigned(thread);
    current_ = thread;
    threads_[t].state = State::running;
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}

bool Block::begin_next() {
    if (begun_ == size_) return false;
    go_on_as(order_.backwards ? size_ - 1 - begun_ : begun_);
    threads_[std::size_t(current_)].on = running_;
    ++begun_;
    return true;
}

void Block::end() {
    threads_[std::size_t(current_)].state = State::ended;
    ++ended_;
    ++warps_[std::size_t(current_ / lanes_per_warp)].ended;
    if (at_barrier_ > 0) complain(current_, barrier_, "ended while others wait in __syncthreads");
    if (warp().arrived > 0) complain(current_, warp().at, "ended while other lanes of its warp wait");
}

// The stack is free: another thread that waited may go on, or the block has ended.
void Block::leave(Fiber& mine) {
    idle_.push_back(&mine);
    if (ready_.empty()) {
        if (ended_ < size_) complain_of_waiting();
        return mine.change_to(home_);
    }
    running_ = &next_fiber();
    mine.change_to(*running_);
}

Fiber& Block::next_fiber() {
    const int next = order_.last_first ? ready_.back() : ready_.front();
    order_.last_first ? ready_.pop_back() : ready_.pop_front();
    return *threads_[std::size_t(next)].on;
}

// The thread waits: one that may go on does, or the next one begins.
void Block::give_way() {
    const int me = current_;
    Fiber& mine = *running_;
    if (!ready_.empty()) {
        running_ = &next_fiber();
    } else if (begun_ < size_) {
        running_ = &idle_fiber();
    } else {
        complain_of_waiting();
    }
    mine.change_to(*running_);
    go_on_as(me);
}

void Block::release(int first, int last) {
    for (int k = first; k < last; ++k) {
        const int t = order_.backwards ? last - 1 - (k - first) : k;
        if (t == current_) continue;
        threads_[std::size_t(t)].state = State::ready;
        ready_.push_back(t);
    }
}

void Block::wait_for_block(Place at) {
    if (ended_ > 0) complain(current_, at, "waits in __syncthreads, which others ended without");
    if (at_barrier_ > 0 && (at.line() != barrier_.line() || std::strcmp(at.file_name(), barrier_.file_name()) != 0))
        complain(current_, at, "waits in another __syncthreads than others of its block");
    barrier_ = at;
    if (++at_barrier_ == size_) {
        at_barrier_ = 0;
        return release(0, size_);
    }
    threads_[std::size_t(current_)].at = at;
    threads_[std::size_t(current_)].state = State::waits_for_block;
    give_way();
}

// Returns which of the warp's two sets holds the values.
int Block::wait_for_warp(WarpOperation operation, unsigned mask, std::uint64_t value, Place at) {
    const int first = current_ / lanes_per_warp * lanes_per_warp;
    Warp& warp = warps_[std::size_t(first / lanes_per_warp)];
    if (mask != all_lanes) complain(current_, at, "names a part of its warp only, which is not emulated");
    if (first + lanes_per_warp > size_) complain(current_, at, "names lanes that its block does not have");
    if (warp.ended > 0) complain(current_, at, "waits for lanes of its warp that ended");
    if (warp.arrived > 0 && (operation != warp.operation || at.line() != warp.at.line()))
        complain(current_, at, "is not where the other lanes of its warp wait");
    warp.operation = operation;
    warp.at = at;
    const int turn = warp.turn;
    warp.values[turn][current_ - first] = value;
    if (++warp.arrived == lanes_per_warp) {
        warp.arrived = 0;
        warp.turn = 1 - turn;
        release(first, first + lanes_per_warp);
    } else {
        threads_[std::size_t(current_)].at = at;
        threads_[std::size_t(current_)].state = State::waits_for_warp;
        give_way();
    }
    return turn;
}

void Block::complain(int thread, Place at, const char* what) const {
    std::fprintf(stderr, "CUDA emulation: thread %d of %d in block (%u, %u, %u) %s\n  %s:%u in %s\n", thread, size_,
                 blockIdx.x, blockIdx.y, blockIdx.z, what, at.file_name(), unsigned(at.line()), at.function_name());
    std::abort();
}

void Block::complain_of_waiting() const {
    for (int t = 0; t < size_; ++t) {
        const State state = threads_[std::size_t(t)].state;
        if (state == State::waits_for_block) complain(t, threads_[std::size_t(t)].at, "waits for its block for ever");
        if (state == State::waits_for_warp) complain(t, threads_[std::size_t(t)].at, "waits for its warp for ever");
    }
    std::abort();
}

}  // namespace

void run(const Launch& launch) {
    const std::lock_guard<std::mutex> alone(one_launch);
    poison_shared_memory(launch.shared);
    gridDim = launch.grid;
    blockDim = launch.block;
    const int threads = int(launch.block.x * launch.block.y * launch.block.z);
    static unsigned blocks = 0;  // so far
    for (unsigned z = 0; z < launch.grid.z; ++z)
        for (unsigned y = 0; y < launch.grid.y; ++y)
            for (unsigned x = 0; x < launch.grid.x; ++x) {
                blockIdx = {x, y, z};
                block.run(launch.thread, threads, {blocks % 2 == 1, blocks / 2 % 2 == 1});
                ++blocks;
            }
}

int lane() { return block.current() % lanes_per_warp; }

void wait_for_block(Place at) { block.wait_for_block(at); }

std::uint64_t exchange(WarpOperation operation, unsigned mask, std::uint64_t value, int source, Place at) {
    const int turn = block.wait_for_warp(operation, mask, value, at);
    return block.warp().values[turn][source];
}

}  // namespace cuda_emulation
