// Split an operation over the members of a team: the blocks of its output, and the barriers between operations.
#pragma once

#include <algorithm>

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

// One member's part in a team, for `Cooperative`.
template <class Real>
class TeamBlocks {
  protected:
    TeamBlocks(Barrier& barrier, int member, const Plan& plan, const SharedSums<Real>& sums)
        : barrier_(barrier), member_(member), plan_(plan), sums_(sums) {}

    void meet_all() {
        barrier_.meet();
        unread_ = {};
    }

    // Too few columns to give each block a full one.
    bool is_narrow(Index cols) const { return cols < Plan::grain * plan_.parts; }

    // The cut of the blocks that other members cannot read before a barrier: the rows or columns of n, or each layer's
    // gradients with their own cut.
    enum class Way { none, rows, columns, gradients };
    struct Unread {
        Way way = Way::none;
        Index n = 0;
        bool operator==(const Unread&) const = default;
    };
    void read_all() {
        if (unread_.way != Way::none) meet_all();
    }
    // Before an operation that reads only its own blocks of this cut.
    void follow(Unread cut) {
        if (!(unread_ == cut)) read_all();
    }

    template <class Body>
    void each_block(Index n, Body body) {
        const Cut cut{n, Plan::grain, plan_.parts};
        for (int k = 0; k < plan_.parts; ++k)
            if (cut.edge(k) < cut.edge(k + 1)) body(cut.edge(k), cut.edge(k + 1), k);
    }
    // Calls body for each block of this member.
    template <class Body>
    void each(Index n, Body body) {
        each_block(n, [&](Index p, Index q, int k) {
            if (k % barrier_.team() == member_) body(p, q, k);
        });
    }
    template <class Body>
    void cut(Way way, Index n, Body body) {
        follow({way, n});
        each(n, [&](Index p, Index q, int) { body(p, q); });
        unread_ = {way, n};
    }
    template <class Body>
    void by_rows(Index n, Body body) {
        cut(Way::rows, n, body);
    }
    template <class Body>
    void by_columns(Index n, Body body) {
        cut(Way::columns, n, body);
    }
    // A sum of blocks, added in their order by every member to its own *out.
    template <class Body>
    void summed(Way way, Index n, double* out, Body body) {
        follow({way, n});
        each(n, [&](Index p, Index q, int k) {
            sums_.number(k) = 0;
            body(p, q, &sums_.number(k));
        });
        meet_all();
        each_block(n, [&](Index, Index, int k) { *out += sums_.number(k); });
        sums_.turn_numbers();
    }
    // Calls body in the first member only, for work too small to share.
    template <class Body>
    void alone(Body body) {
        read_all();
        if (member_ == 0) body();
        meet_all();
    }

    Barrier& barrier_;
    const int member_;
    const Plan plan_;
    SharedSums<Real> sums_;
    Unread unread_;
};

}  // namespace fastbp
