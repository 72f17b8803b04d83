// How a batch is cut: a pure function of sizes. Who carries it out, and how many turn up, changes no bit.
#pragma once

#include "execution/model.hpp"

namespace fastbp {

// Groups of rows, each with its own gradient sum; a group goes tile by tile through all layers, forward and
// backward.
struct Plan {
    Index rows = 0;
    Index tile = 0;    // rows that go through the layers together
    Index groups = 1;  // gradient sums, added in a fixed tree

    Index group_edge(Index k) const { return rows * k / groups; }
};

Plan make_plan(const Model& model, Index rows, std::size_t bytes_per_number);

}  // namespace fastbp
