// Carries a job out by its plan. Every member of the team runs these functions; the plan says what is whose.
#pragma once

#include "execution/barrier.hpp"
#include "execution/cooperative.hpp"
#include "execution/job.hpp"
#include "execution/workspace.hpp"

namespace fastbp {

// Puts the job's numbers where its operations read them: by each member, before carry_out.
template <class Real>
void prepare(Backend<Real>& on, const Member& member, Crew<Real>& crew, const Job<Real>& job);

// The job's results are there when all members have returned; its loss is total_loss(crew). False where the team
// stopped before it was done: all members return the same, crew.stopped() has the reason, and nothing that was begun is
// complete. A member must act on what is returned here, not look at crew.stopped() again: the first member may be at
// the next job.
template <class Real>
[[nodiscard]] bool carry_out(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew,
                             const Job<Real>& job);

// The sum of scale c_n e_n of the job carried out last, 0 where its seed was not a loss.
template <class Real>
double total_loss(Backend<Real>& on, const Plan& plan, const Crew<Real>& crew) {
    double sum = 0;
    for (int part = 0; part < (plan.shares_operations() ? 1 : plan.parts); ++part) {
        double loss = 0;
        on.download(&crew.loss_sum(part), &loss, sizeof loss);
        sum += loss;
    }
    return sum;
}

// A backend that shares elementwise work over parameters among the team.
template <class Real>
Cooperative<Real> together(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew) {
    return Cooperative<Real>(on, member.barrier, member.index, plan, crew.shared_sums(plan));
}

// body(backend), with one that shares elementwise work over parameters among the team; or with `on` itself, where that
// shares out its operations.
template <class Real, class Body>
auto among_team(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew, Body body) {
    if (on.asynchronous()) return body(on);
    Cooperative<Real> shared = together(on, member, plan, crew);
    return body(static_cast<Backend<Real>&>(shared));
}

// A call that needs a gradient beside the job's: where groups leave their sums, they leave those.
inline int extra_gradients(const Plan& plan) { return plan.partial_gradients() == 0 ? 1 : 0; }

}  // namespace fastbp
