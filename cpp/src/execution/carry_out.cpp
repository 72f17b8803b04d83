#include "execution/carry_out.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"
#include "algorithm/tangent.hpp"
#include "execution/partials.hpp"
#include "execution/tile.hpp"

namespace fastbp {
namespace {

// Where the tile's gradient goes.
template <class Real>
Sink<Real> sink_of(Workspace<Real>& workspace, const Job<Real>& job, const Gradient<Real>& grad,
                   const Blend<Real>* blend) {
    const auto& slots = workspace.live();
    if (job.into_parameters) return workspace.sink(grad, &slots.step_w, &slots.step_b);
    return grad.wanted() ? workspace.sink(grad, blend, blend) : Sink<Real>{};
}

// (4) to (6) of a tile. A training step changes the parameters here only if its gradient is certainly finite. Members
// that share the operations agree on this.
template <class Real>
void carry_back(Backend<Real>& on, Network<Real> net, const Pass<Real>& pass, Workspace<Real>& workspace,
                const Job<Real>& job, Matrix<Real> input_grad, const ExampleNorms& examples, Sink<Real> sink) {
    auto& slots = workspace.live();
    all_deltas(on, net, pass, input_grad, examples);
    if (job.certain > 0) on.largest_magnitudes(pass, &slots.factors);
    if (job.steps_in_place() && !job.is_certain(slots.factors))
        weight_gradients(on, pass, workspace.sink(job.separate_grad, &slots.overwrite, &slots.overwrite));
    else
        weight_gradients(on, pass, sink, job.steps);
}

// The tiles of one group, or of the whole batch where the team shares the operations (`on` is then Cooperative). The
// first tile's gradient is blended by `first`, each later one is added.
//
// Members that share must agree when to stop. Only the first asks the poll, before and after the forward pass; all look
// at the answer, and at the loss, after a meeting and before (5); and the tile ends in a meeting, so that the first
// cannot ask again before all have looked. False: stopped.
template <class Real>
bool carry_tiles(Backend<Real>& on, const Member& member, Crew<Real>& crew, Workspace<Real>& workspace,
                 const Job<Real>& job, Index begin, Index end, const Plan& plan, const Gradient<Real>& grad,
                 const Blend<Real>* first, double& loss_sum) {
    const Network<Real> net = workspace.network(job.params);
    auto& slots = workspace.live();
    const bool may_fuse = !plan.shares_operations() && job.is_gradient_alone();
    // Without rows there is one empty tile all the same: an overwritten gradient becomes zeros.
    Index at = begin;
    do {
        if (member.first() && job.poll != nullptr && job.poll->wants_stop()) crew.stop(Stop::interrupted);
        const Index tile_end = std::min(end, at + plan.tile);
        Tile<Real> tile(on, workspace, job, at, tile_end);
        const Pass<Real> pass = tile.pass();
        const Sink<Real> sink = sink_of(workspace, job, grad, at == begin ? first : &slots.accumulate);
        const bool fused = may_fuse && on.try_fused_pass(net, pass, workspace.loss(), tile.target(), &loss_sum, sink);
        if (!fused && !job.forward_done) forward(on, net, pass);
        if (member.first() && job.poll != nullptr && job.poll->wants_stop()) crew.stop(Stop::interrupted);
        TangentPass<Real> dot;
        if (job.along != Along::nothing) forward_tangent(on, net, pass, dot = tile.tangents());
        if (!fused && !tile.seed(net, pass, loss_sum)) crew.stop(Stop::callback_failed);
        if (job.seed != Seed::loss) on.meet();  // that seed has met to sum the loss
        if (job.ledger != nullptr && tile_end == end)
            on.note_loss(&loss_sum, job.ledger, &slots.now);
        else if (job.finite_or_stop && !on.asynchronous() && !std::isfinite(loss_sum))
            crew.stop(Stop::not_finite);
        if (crew.stopped() != Stop::none) return false;
        if (fused) slots.factors.delta = std::numeric_limits<double>::infinity();  // they are not known
        if (job.backward() && !fused) {
            const Matrix<Real> input_grad = job.input_grad.row_block(at, tile_end);
            if (job.along == Along::gradient) {
                tile.seed_tangent(net, pass, dot);
                tile.clear_masked(net.back().g, dot.layer.back().delta);
                delta_recursion_tangent(on, net, pass, dot, input_grad);
                weight_gradients_tangent(on, pass, dot, sink, &slots.accumulate);
            } else {
                if (job.along == Along::gauss_newton) {
                    tile.seed_gauss_newton(net, pass, dot);
                    tile.clear_masked(net.back().g, pass.last().delta);
                }
                carry_back(on, net, pass, workspace, job, input_grad, tile.examples(), sink);
            }
        } else {
            on.meet();
        }
        at = tile_end;
    } while (at < end);
    return true;
}

// Each member's groups, one after the other, then the sum of their gradients.
template <class Real>
bool carry_groups(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew, const Job<Real>& job) {
    Workspace<Real>& workspace = crew.workspace(member.index);
    const auto& slots = workspace.live();
    const bool own_sums = job.grad.wanted() && plan.partial_gradients() > 0;
    for (int group = member.index; group < plan.parts; group += member.team()) {
        double& sum = crew.begin_loss_sum(on, group);
        const bool done =
            carry_tiles(on, member, crew, workspace, job, plan.group_edge(group), plan.group_edge(group + 1), plan,
                        own_sums ? Gradient<Real>{crew.gradient(group).data} : job.grad,
                        own_sums || !job.accumulate ? &slots.overwrite : &slots.accumulate, sum);
        if (!done) break;
    }
    member.meet();
    const bool all_done = crew.stopped() == Stop::none;  // members stop each for itself here, and agree at the meeting
    if (own_sums && !job.leave_partials && all_done) {
        add_partials<Real>(on, member, workspace.model(), crew.partials(0, plan.parts), job.accumulate, job.grad);
        member.meet();
    }
    return all_done;
}

}  // namespace

template <class Real>
void prepare(Backend<Real>& on, const Member& member, Crew<Real>& crew, const Job<Real>& job) {
    Workspace<Real>& workspace = crew.workspace(member.index);
    workspace.slots().scale = job.scale;
    workspace.slots().step = job.step;
    workspace.publish(on);
}

template <class Real>
bool carry_out(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew, const Job<Real>& job) {
    Workspace<Real>& workspace = crew.workspace(member.index);
    if (!plan.shares_operations()) return carry_groups(on, member, plan, crew, job);
    double& loss_sum = crew.begin_loss_sum(on, member.index);
    Cooperative<Real> shared = together(on, member, plan, crew);
    const Blend<Real>* first = job.accumulate ? &workspace.live().accumulate : &workspace.live().overwrite;
    return carry_tiles<Real>(shared, member, crew, workspace, job, 0, plan.rows, plan, job.grad, first, loss_sum);
}

template void prepare(Backend<float>&, const Member&, Crew<float>&, const Job<float>&);
template void prepare(Backend<double>&, const Member&, Crew<double>&, const Job<double>&);
template bool carry_out(Backend<float>&, const Member&, const Plan&, Crew<float>&, const Job<float>&);
template bool carry_out(Backend<double>&, const Member&, const Plan&, Crew<double>&, const Job<double>&);

}  // namespace fastbp
