// Run a job by its plan. Every member of the team calls these functions; the plan says which part is whose.
#pragma once

#include "execution/barrier.hpp"
#include "execution/cooperative.hpp"
#include "execution/job.hpp"
#include "execution/workspace.hpp"

namespace fastbp {

// Puts the job's numbers where its operations read them. Each member calls it before carry_out.
template <class Real>
void prepare(Backend<Real>& on, const Member& member, Crew<Real>& crew, const Job<Real>& job);

// The job's results are complete when all members have returned. False if the team stopped early: all members return
// the same, crew.stopped() has the reason, and no result is complete. A member must act on this result and not look at
// crew.stopped() again, because the first member may be at the next job.
template <class Real>
[[nodiscard]] bool carry_out(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew,
                             const Job<Real>& job);

// body(backend) with a backend that shares elementwise work over parameters among the team, or with `on` itself if that
// runs each operation on many threads.
template <class Real, class Body>
auto among_team(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew, Body body) {
    if (plan.traits.shares_operations) return body(on);
    Cooperative<Real> shared(on, member.barrier, member.index, plan, crew.shared_sums(plan));
    return body(static_cast<Backend<Real>&>(shared));
}

}  // namespace fastbp
