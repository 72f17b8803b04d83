// Carries a job out by its plan: groups of rows, tile by tile through all layers forward and backward.
#pragma once

#include "execution/job.hpp"
#include "execution/plan.hpp"
#include "execution/workspace.hpp"

namespace fastbp {

// Returns the sum of scale c_n e_n, 0 where the seed is not a loss. The workspace must fit plan.tile and
// gradients_needed. Throws Error where the loss function failed, the loss is not finite or the poll said stop.
template <class Real>
double carry_out(Backend<Real>& on, const Model& model, const Plan& plan, Workspace<Real>& workspace,
                 const Job<Real>& job);

// How many gradient sums the workspace must hold: none where one group writes straight into the job's gradient.
Index gradients_needed(const Plan& plan);

}  // namespace fastbp
