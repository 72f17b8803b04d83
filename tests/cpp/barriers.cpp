// The barriers of a team that shares a pass: no member touches what another one writes before the next barrier, results
// do not depend on which member runs first, and a barrier that is removed is found.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "watched_run.hpp"

namespace fastbp::test {
namespace {

struct Case {
    std::uint64_t seed;
    Task task;
    int members;
    Sizes sizes = Sizes::any;

    std::string text() const {
        return "problem " + std::to_string(seed) + ", " + name_of(task) + ", " + std::to_string(members) + " members";
    }
};

void fail(const std::string& what) {
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::exit(1);
}

template <class Real>
Outcome run(const Case& of, Order order, int removed = SerialTeam::no_barrier) {
    return watched_run<Real>(of.seed, of.sizes, of.task, of.members, order, removed);
}

// Teams of all sizes and in both orders give the bits of one member, without a conflict. Returns the barriers passed.
template <class Real>
int members_do_not_conflict(std::uint64_t seed, Task task) {
    int barriers = 0;
    const auto alone = run<Real>({seed, task, 1}, Order::ascending).results;
    for (const int members : {2, 3, 4})
        for (const Order order : {Order::ascending, Order::descending}) {
            const Case of{seed, task, members};
            const Outcome outcome = run<Real>(of, order);
            if (const auto conflict = outcome.log.conflict()) fail(of.text() + ": " + *conflict);
            if (outcome.diverged) fail(of.text() + ": some members returned while others waited");
            if (outcome.results != alone) fail(of.text() + ": the results are not those of one member");
            barriers += outcome.barriers;
        }
    return barriers;
}

// True if a run without barrier k fails in a process of its own: a wrong number may be used as a place in memory.
bool fails_without(const Case& of, const Outcome& complete, Order order, int k) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child < 0) fail("a process cannot be started");
    if (child == 0) {
        const Outcome outcome = run<double>(of, order, k);
        _exit(outcome.diverged || outcome.results != complete.results ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status != 0;
}

// True if the log or the results of a run show that barrier k is missing.
bool removal_is_found(const Case& of, const Outcome& complete, int k) {
    return complete.log.conflict_without(k) || fails_without(of, complete, Order::ascending, k) ||
           fails_without(of, complete, Order::descending, k);
}

// Removes each barrier of many cases, one at a time. Each frequent kind of barrier, known by the operations around it,
// must be found missing in some case. Not in each: `share` knows splits, not views, and waits more often than some nets
// need. The last barrier of a run is left out, because the end of the threads has the same effect.
void removed_barriers_are_found(std::uint64_t seeds) {
    std::map<std::string, std::pair<int, int>> kinds;  // how often found, and not
    for (std::uint64_t seed = 0; seed < seeds; ++seed)
        for (const Task task : {Task::gradient, Task::example_norms, Task::steps}) {
            const Case of{seed, task, 2, Sizes::shared_by_two};
            const Outcome complete = run<double>(of, Order::ascending);
            for (int k = 0; k + 1 < complete.barriers; ++k) {
                auto& [found, missed] = kinds[complete.log.around(k)];
                ++(removal_is_found(of, complete, k) ? found : missed);
            }
        }
    int found = 0, missed = 0;
    for (const auto& [kind, count] : kinds) {
        found += count.first;
        missed += count.second;
        std::printf("  %3d of %3d found: %s\n", count.first, count.first + count.second, kind.c_str());
        // No operation reads the gradient with respect to the inputs (7).
        const bool follows_last_product = kind.rfind("gemm | ", 0) == 0;
        // A step waits before it calls a hook, even if nothing was written since the barrier at the end of the pass.
        const bool precedes_hook = kind == "note_loss | hook";
        // A pass ends with a barrier, although the sums of the penalties that may follow have one of their own.
        const bool precedes_penalties = kind == "accumulate_gradients | clear";
        const bool is_frequent = count.first + count.second >= 20;
        if (is_frequent && count.first == 0 && !follows_last_product && !precedes_hook && !precedes_penalties)
            fail("no removal of this barrier is found: " + kind);
    }
    std::printf("removed barriers: %d found, %d not needed in that case\n", found, missed);
}

}  // namespace
}  // namespace fastbp::test

// Arguments: how many problems, and how many of them without each barrier.
int main(int count, char** arguments) {
    using namespace fastbp::test;
    const int problems = count > 1 ? std::atoi(arguments[1]) : 40, removals = count > 2 ? std::atoi(arguments[2]) : 60;
    int barriers = 0;
    for (int seed = 0; seed < problems; ++seed)
        for (int task = 0; task < task_count; ++task)
            barriers += seed % 2 == 0 ? members_do_not_conflict<float>(std::uint64_t(seed), Task(task))
                                      : members_do_not_conflict<double>(std::uint64_t(seed), Task(task));
    std::printf("barriers without a conflict: %d\n", barriers);
    removed_barriers_are_found(std::uint64_t(removals));
    std::puts("barriers: ok");
    return 0;
}
