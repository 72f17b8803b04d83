// How a batch is cut: a pure function of sizes, type, instruction set and, unless the model is deterministic, the
// number of threads. Who carries a plan out, and how many turn up, changes no bit.
#pragma once

#include "execution/model.hpp"
#include "seam/backend.hpp"

namespace fastbp {

// What a job computes. Each kind has its own cost, and its own best team.
enum class Work { forward, backward, gradient, step };
constexpr std::size_t kinds_of_work = 4;

enum class Schedule {
    rows,         // groups of rows, each with its own gradient sum, go tile by tile through all layers
    cooperative,  // one tile after the other, each operation shared by output blocks; no sum but the gradient itself
};

struct Plan {
    Schedule schedule = Schedule::rows;
    Index rows = 0;
    Index tile = 0;               // rows that go through the layers together
    int parts = 1;                // groups of rows, or blocks of each operation
    double seconds_alone = 0;     // expected time of one thread, 0 if unknown; no result depends on it
    ExecutionTraits traits = {};  // of the backend that the plan is for

    // Blocks begin at multiples of it: one vector of floats, one cache line.
    static constexpr Index grain = 16;
    static constexpr int most_parts = 64;

    Index group_edge(int k) const { return rows * k / parts; }
    bool shares_operations() const { return schedule == Schedule::cooperative; }
    // Whether (1) cuts a layer of so many inputs along the dimension it sums over, and w by rows: where the sums that
    // this costs are smaller than w.
    bool cuts_inner(Index inputs) const {
        return shares_operations() && parts > 1 && parts * tile <= inputs && parts * grain <= inputs;
    }
    // Gradient sums of groups, to be added in a fixed tree; none where the one gradient is written in place.
    int partial_gradients() const { return schedule == Schedule::rows && parts > 1 ? parts : 0; }
};

// What a plan depends on besides the model.
struct PlanRequest {
    Index rows = 0;
    std::size_t bytes_per_number = 4;
    int threads = 1;  // ignored if the model is deterministic
    Work work = Work::gradient;
    Index kept_per_row = 0;  // the mean count of numbers in a row of a compressed X; 0: X is dense
};

// The plan for a team of threads.
Plan make_plan(const Model& model, const PlanRequest& request);

// The plan for a backend that runs each operation on many threads itself: one group, whose tiles are as large as memory
// allows.
Plan make_device_plan(const Model& model, const PlanRequest& request);

}  // namespace fastbp
