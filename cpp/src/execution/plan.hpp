// How a batch is cut: a pure function of sizes, type, instruction set and, unless the model is deterministic, the
// number of threads. Who carries a plan out, and how many turn up, changes no bit.
#pragma once

#include "execution/model.hpp"

namespace fastbp {

enum class Schedule {
    rows,         // groups of rows, each with its own gradient sum, go tile by tile through all layers
    cooperative,  // one tile after the other, each operation shared by output blocks; no sum but the gradient itself
};

struct Plan {
    Schedule schedule = Schedule::rows;
    Index rows = 0;
    Index tile = 0;            // rows that go through the layers together
    int parts = 1;             // groups of rows, or blocks of each operation
    double seconds_alone = 0;  // what one thread is thought to need; for no decision that a bit depends on

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

// The plan for `threads` threads; with `threads` ignored where the model is deterministic. `kept_per_row`: how many
// numbers a row of X has in the mean, where it is in compressed rows; else 0.
Plan make_plan(const Model& model, Index rows, std::size_t bytes_per_number, int threads, Index kept_per_row = 0);

// The plan for a device that shares out each operation itself: one group, whose tiles are as large as memory allows.
Plan make_device_plan(const Model& model, Index rows, std::size_t bytes_per_number);

}  // namespace fastbp
