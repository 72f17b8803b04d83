// A team whose members run one at a time, in a fixed order, and change over only at barriers. A program that lacks a
// barrier then gives the same wrong result in every run, without a data race.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "execution/barrier.hpp"

namespace fastbp::test {

enum class Order { ascending, descending };

class SerialTeam {
  public:
    static constexpr int no_barrier = -1;

    // Barrier `removed` lets every member pass without waiting. Barriers count from 0.
    SerialTeam(int size, Order order, int removed = no_barrier)
        : size_(size), removed_(removed), barrier_(*this), passed_(std::size_t(size), 0) {
        for (int k = 0; k < size; ++k) order_.push_back(order == Order::ascending ? k : size - 1 - k);
        states_.assign(std::size_t(size), State::ready);
    }

    // `function` is called with the number of each new phase, before the first member goes on.
    void at_each_phase(std::function<void(unsigned)> function) { at_each_phase_ = std::move(function); }

    // Calls body(Member) in each member. Returns when all have returned.
    template <class Body>
    void run(Body body) {
        current_ = order_.front();
        std::vector<std::thread> threads;
        for (int m = 0; m < size_; ++m)
            threads.emplace_back([&, m] {
                own_index() = m;
                {
                    std::unique_lock lock(mutex_);
                    wait_for_turn(lock, m);
                }
                body(Member{m, barrier_});
                const std::lock_guard lock(mutex_);
                state(m) = State::finished;
                hand_over();
            });
        for (std::thread& thread : threads) thread.join();
    }

    // How many barriers all members have passed, the removed one excluded.
    int interval() const { return int(barrier_.phase()); }
    // True if some members returned while others waited at a barrier.
    bool diverged() const { return diverged_; }

  private:
    enum class State { ready, waiting, finished };

    class SerialBarrier final : public Barrier {
      public:
        explicit SerialBarrier(SerialTeam& team) : Barrier(team.size_), team_(team) {}

        void open() { begin_phase(phase() + 1); }

      protected:
        void wait_for_team() noexcept override { team_.arrive(own_index()); }

      private:
        SerialTeam& team_;
    };

    static int& own_index() {
        static thread_local int index = 0;
        return index;
    }
    State& state(int member) { return states_[std::size_t(member)]; }

    void arrive(int member) {
        if (passed_[std::size_t(member)]++ == removed_) return;
        std::unique_lock lock(mutex_);
        state(member) = State::waiting;
        hand_over();
        wait_for_turn(lock, member);
    }
    void wait_for_turn(std::unique_lock<std::mutex>& lock, int member) {
        turn_.wait(lock, [&] { return current_ == member; });
    }

    int first_ready() {
        for (const int member : order_)
            if (state(member) == State::ready) return member;
        return -1;
    }
    // Chooses the next member. When none is ready, all have reached the barrier.
    void hand_over() {
        current_ = first_ready();
        if (current_ < 0) {
            bool finished = false, waiting = false;
            for (State& each : states_) {
                finished = finished || each == State::finished;
                waiting = waiting || each == State::waiting;
                if (each == State::waiting) each = State::ready;
            }
            diverged_ = diverged_ || (finished && waiting);
            barrier_.open();
            if (at_each_phase_) at_each_phase_(barrier_.phase());
            current_ = first_ready();
        }
        turn_.notify_all();
    }

    const int size_, removed_;
    std::function<void(unsigned)> at_each_phase_;
    SerialBarrier barrier_;
    std::vector<int> order_, passed_;
    std::vector<State> states_;
    std::mutex mutex_;
    std::condition_variable turn_;
    int current_ = -1;
    bool diverged_ = false;
};

}  // namespace fastbp::test
