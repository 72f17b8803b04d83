// Faults on purpose. Each must end the program with an error under its sanitizer: a build whose canary survives
// proves nothing.
#include <cstdio>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "execution/barrier.hpp"

namespace {

// All workers meet inside the job, so that they run at the same time, and then write one number without order.
void race() {
    constexpr int team = 4;
    fastbp::Barrier barrier(team);
    int shared = 0;
    std::vector<std::thread> workers;
    for (int m = 0; m < team; ++m)
        workers.emplace_back([&] {
            barrier.barrier_wait();
            for (int k = 0; k < 1000; ++k) ++shared;
        });
    for (std::thread& worker : workers) worker.join();
    std::printf("%d\n", shared);
}

void address(int at) {
    const std::vector<int> numbers(4, 1);
    std::printf("%d\n", numbers.data()[at]);
}

void undefined(int by) {
    int number = std::numeric_limits<int>::max();
    number += by;
    std::printf("%d\n", number);
}

}  // namespace

int main(int argc, char** argv) {
    const char* which = argc > 1 ? argv[1] : "";
    if (std::strcmp(which, "race") == 0) race();
    if (std::strcmp(which, "address") == 0) address(3 + argc);
    if (std::strcmp(which, "undefined") == 0) undefined(argc);
    return 0;
}
