// Split an operation among the members of a team: the blocks of its output, and the barriers between operations.
#pragma once

#include <algorithm>
#include <type_traits>

#include "execution/barrier.hpp"
#include "execution/plan.hpp"
#include "execution/shared_sums.hpp"

namespace fastbp {

// Block k of `blocks` over n rows or columns. Edges are multiples of `grain`, so that tail kernels run on the same
// columns for every team size.
struct Cut {
    Index n, grain;
    int blocks;

    Index edge(int k) const {
        const Index grains = (n + grain - 1) / grain;
        return std::min(n, grain * (grains * k / blocks));
    }
};

// What an operation is split along: the rows or columns of its output. Gradients, and vectors of parameters of one
// layer, have splits of their own: no layer's gradient or vector is read for that of another. `whole` is one block, for
// work that is too small to share. `mixed`: blocks of several splits.
enum class Axis { none, rows, columns, gradients, layer_vectors, whole, mixed };

// What an operation reads of the blocks written since the last barrier.
enum class Reads {
    nothing,     // it loads rows, into memory that no member has read since then
    own_blocks,  // only blocks of the same split, each for the same block of its output
    all_blocks,
};

// The part of one member in a team, for `Cooperative`.
//
// Barriers are lazy. Blocks of one split pass from operation to operation without a barrier, because each member reads
// what it wrote itself. `share` waits for the team before an operation that reads more.
template <class Real>
class TeamBlocks {
  protected:
    TeamBlocks(Barrier& barrier, int member, const Plan& plan, const SharedSums<Real>& sums)
        : barrier_(barrier), member_(member), plan_(plan), sums_(sums) {}

    void wait_for_team() {
        barrier_.barrier_wait();
        written_ = {};
    }

    // True if there are too few columns to give each block a full one.
    bool is_narrow(Index cols) const { return cols < Plan::grain * plan_.parts; }

    // Calls body(begin, end) or body(begin, end, k) for each of this member's blocks k of n rows or columns.
    template <class Body>
    void share(Axis axis, Index n, Reads reads, Body body) {
        const bool by_layer = axis == Axis::gradients || axis == Axis::layer_vectors;
        const Split split{axis, by_layer ? 0 : n};
        const bool keeps_split = written_.axis == Axis::none || written_ == split;
        const bool reads_others = reads == Reads::all_blocks ? written_.axis != Axis::none : !keeps_split;
        const bool waits = reads != Reads::nothing && reads_others;
        if (waits) wait_for_team();
        for_each_block(n, [&](Index begin, Index end, int k) {
            if (k % barrier_.team() != member_) return;
            if constexpr (std::is_invocable_v<Body, Index, Index, int>)
                body(begin, end, k);
            else
                body(begin, end);
        });
        written_ = waits || keeps_split ? split : Split{Axis::mixed};
    }

    // Shares out a sum: body(begin, end, &sum) adds a block's part to 0. Every member then adds the sums of all blocks,
    // in their order, to its own *out.
    template <class Body>
    void share_sum(Axis axis, Index n, double* out, Body body) {
        const unsigned phase = share_numbers(axis, n, [&](Index begin, Index end, double& number) {
            number = 0;
            body(begin, end, &number);
        });
        for_each_block(n, [&](Index, Index, int k) { *out += *sums_.numbers(phase, k); });
    }
    // Shares out a maximum: body(begin, end) returns that of a block. Returns the largest, or `least` if it is larger.
    template <class Body>
    double share_maximum(Axis axis, Index n, double least, Body body) {
        const unsigned phase =
            share_numbers(axis, n, [&](Index begin, Index end, double& number) { number = body(begin, end); });
        for_each_block(n, [&](Index, Index, int k) { least = std::max(least, *sums_.numbers(phase, k)); });
        return least;
    }

    Barrier& barrier_;
    const int member_;
    const Plan plan_;
    const SharedSums<Real> sums_;

    // How the blocks are split that were written since the last barrier.
    struct Split {
        Axis axis = Axis::none;
        Index n = 0;
        bool operator==(const Split&) const = default;
    };
    Split written_;

  private:
    template <class Body>
    void for_each_block(Index n, Body body) const {
        const Cut cut{n, Plan::grain, plan_.parts};
        for (int k = 0; k < plan_.parts; ++k)
            if (cut.edge(k) < cut.edge(k + 1)) body(cut.edge(k), cut.edge(k + 1), k);
    }

    // Calls body(begin, end, number) with the number of each of this member's blocks. Returns the phase of the numbers,
    // which all members may read then.
    template <class Body>
    unsigned share_numbers(Axis axis, Index n, Body body) {
        share(axis, n, Reads::own_blocks,
              [&](Index begin, Index end, int k) { body(begin, end, *sums_.numbers(barrier_.phase(), k)); });
        const unsigned phase = barrier_.phase();
        wait_for_team();
        return phase;
    }
};

}  // namespace fastbp
