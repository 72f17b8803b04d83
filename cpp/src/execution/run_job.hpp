// Run a job by its plan. Every member of the team calls these functions; the plan says which part is whose.
#pragma once

#include "execution/barrier.hpp"
#include "execution/cooperative.hpp"
#include "execution/job.hpp"
#include "execution/team_scratch.hpp"

namespace fastbp {

// Puts the job's numbers where its operations read them. Each member calls it before run_job.
template <class Real>
void prepare(Backend<Real>& on, const Member& member, TeamScratch<Real>& scratch, const Job<Real>& job);

// The job's results are complete when all members have returned. False if the team stopped early: all members return
// the same, scratch.stopped() has the reason, and no result is complete. A member must act on this result and not look
// at scratch.stopped() again, because the first member may be at the next job.
template <class Real>
[[nodiscard]] bool run_job(Backend<Real>& on, const Member& member, const Plan& plan, TeamScratch<Real>& scratch,
                           const Job<Real>& job);

// body(backend) with a backend that shares elementwise work over parameters among the team, or with `on` itself if that
// runs each operation on many threads.
template <class Real, class Body>
auto among_team(Backend<Real>& on, const Member& member, const Plan& plan, TeamScratch<Real>& scratch, Body body) {
    if (plan.traits.shares_operations) return body(static_cast<Operations<Real>&>(on));
    Cooperative<Real> shared(on, member.barrier, member.index, plan, scratch.shared_sums(plan));
    return body(static_cast<Operations<Real>&>(shared));
}

}  // namespace fastbp
