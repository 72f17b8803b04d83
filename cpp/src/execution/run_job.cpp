#include "execution/run_job.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"
#include "algorithm/tangent.hpp"
#include "execution/partials.hpp"
#include "execution/penalty.hpp"
#include "execution/tile.hpp"

namespace fastbp {
namespace {

// Where the tile's gradient goes.
template <class Real>
Sink<Real> sink_of(MemberScratch<Real>& own, const Job<Real>& job, const Gradient<Real>& grad,
                   const Blend<Real>* blend) {
    const auto& slots = own.device_slots();
    if (job.step && job.step->blends_into_parameters) return own.sink(grad, &slots.step_w, &slots.step_b);
    return grad.wanted() ? own.sink(grad, blend, blend) : Sink<Real>{};
}

// (4) to (6) of a tile. A training step changes the parameters here only if its gradient is certainly finite. Members
// that share the operations agree on this.
template <class Real>
void backpropagate_tile(Operations<Real>& on, Network<Real> net, const Pass<Real>& pass, MemberScratch<Real>& own,
                        const Job<Real>& job, Matrix<Real> input_grad, const ExampleNorms& examples, Sink<Real> sink) {
    auto& slots = own.device_slots();
    all_deltas(on, net, pass, input_grad, examples);
    if (!job.step) return weight_gradients(on, pass, sink);
    const StepTarget<Real>& step = *job.step;
    if (step.certain > 0) on.largest_magnitudes(pass, &slots.factors);
    if (step.in_place() && !step.is_certain(slots.factors, job.rows.range.count))
        weight_gradients(on, pass, own.sink(step.separate_grad, &slots.overwrite, &slots.overwrite));
    else
        weight_gradients(on, pass, sink, step.layers);
}

// Asks the caller's poll, in the first member only. `part`: of the work of a tile of `rows` rows, since it was asked.
template <class Real>
void ask_poll(const Member& member, TeamScratch<Real>& scratch, const Job<Real>& job, const Plan& plan, double rows) {
    if (!member.first() || job.poll == nullptr) return;
    const double all = double(std::max<Index>(plan.rows, 1));
    const double seconds = job.by_function() ? 0 : plan.seconds_alone * rows / all;
    if (job.poll->wants_stop(seconds)) scratch.stop(Stop::interrupted);
}

// The tiles of one group, or of the whole batch if the team shares the operations (`on` is then Cooperative). The
// first tile's gradient is blended by `first`, each later one is added.
//
// Members that share must agree when to stop. Only the first asks the poll, before and after the forward pass. All look
// at the answer, and at the loss, after a barrier and before (5). The tile ends with a barrier, so that the first
// cannot ask again before all have looked. False: stopped.
template <class Real>
bool run_tiles(Operations<Real>& on, Memory& memory, const Member& member, TeamScratch<Real>& scratch,
               MemberScratch<Real>& own, const Job<Real>& job, Index begin, Index end, const Plan& plan,
               const Gradient<Real>& grad, const Blend<Real>* first, double& loss_sum) {
    const Network<Real> net = own.network(job.params);
    auto& slots = own.device_slots();
    const bool may_fuse = !plan.shares_operations() && job.is_gradient_alone();
    const bool stops_if_not_finite = job.step && !plan.traits.asynchronous;
    // Without rows there is one empty tile all the same: an overwritten gradient becomes zeros.
    Index at = begin;
    do {
        const Index tile_end = std::min(end, at + plan.tile);
        const double half = double(tile_end - at) / 2;
        ask_poll(member, scratch, job, plan, half);
        Tile<Real> tile(on, memory, plan.traits.distant, own, job, at, tile_end);
        const Pass<Real> pass = tile.pass();
        const Sink<Real> sink = sink_of(own, job, grad, at == begin ? first : &slots.accumulate);
        const bool fused = may_fuse && on.try_fused_pass(net, pass, own.loss(), tile.target(), &loss_sum, sink);
        if (!fused && !job.outputs.forward_done) forward(on, net, pass);
        ask_poll(member, scratch, job, plan, half);
        TangentPass<Real> dot;
        if (job.direction) forward_tangent(on, net, pass, dot = tile.tangents());
        if (!fused && !tile.seed(net, pass, loss_sum)) scratch.stop(Stop::callback_failed);
        if (!job.by_loss()) on.barrier_wait();  // a seed by the loss has met to sum the loss
        if (stops_if_not_finite && !std::isfinite(loss_sum)) scratch.stop(Stop::not_finite);
        if (scratch.stopped() != Stop::none) return false;
        if (fused) slots.factors.delta = std::numeric_limits<double>::infinity();  // they are not known
        if (job.backward() && !fused) {
            const Matrix<Real> input_grad = job.outputs.input_grad.row_block(at, tile_end);
            const bool along = job.direction && job.direction->mode == TangentMode::gradient;
            if (along) {
                tile.seed_tangent(net, pass, dot);
                tile.clear_masked(net.back().g, dot.layer.back().delta);
                delta_recursion_tangent(on, net, pass, dot, input_grad);
                weight_gradients_tangent(on, pass, dot, sink, &slots.accumulate);
            } else {
                if (job.direction) {  // Gauss-Newton
                    tile.seed_gauss_newton(net, pass, dot);
                    tile.clear_masked(net.back().g, pass.last().delta);
                }
                backpropagate_tile(on, net, pass, own, job, input_grad, tile.examples(), sink);
            }
        } else {
            on.barrier_wait();
        }
        at = tile_end;
    } while (at < end);
    return true;
}

// Each member's groups, one after the other, then the sum of their gradients.
template <class Real>
bool run_groups(Backend<Real>& on, const Member& member, const Plan& plan, TeamScratch<Real>& scratch,
                const Job<Real>& job) {
    MemberScratch<Real>& own = scratch.member(member.index);
    const auto& slots = own.device_slots();
    const Outputs<Real>& to = job.outputs;
    const bool own_sums = to.grad.wanted() && plan.partial_gradients() > 0;
    for (int group = member.index; group < plan.parts; group += member.team()) {
        on.clear(&scratch.loss_sum(group));
        const bool done =
            run_tiles<Real>(on, on, member, scratch, own, job, plan.group_edge(group), plan.group_edge(group + 1), plan,
                            own_sums ? Gradient<Real>{scratch.gradient(group).data} : to.grad,
                            own_sums || !to.accumulate ? &slots.overwrite : &slots.accumulate, scratch.loss_sum(group));
        if (!done) break;
    }
    member.barrier_wait();
    const bool all_done =
        scratch.stopped() == Stop::none;  // members stop each for itself here, and agree at the barrier
    if (own_sums && !to.leave_partials && all_done) {
        add_partials<Real>(on, member, own.model(), scratch.partials(0, plan.parts), to.accumulate, to.grad);
        member.barrier_wait();
    }
    return all_done;
}

// Adds the penalties of a job that is not a training step. The second derivative of l1 is 0.
template <class Real>
void finish_penalties(Backend<Real>& on, const Member& member, const Plan& plan, TeamScratch<Real>& scratch,
                      const Job<Real>& job) {
    if (!job.penalties.any() || job.step) return;
    MemberScratch<Real>& own = scratch.member(member.index);
    among_team(on, member, plan, scratch, [&](Operations<Real>& shared) {
        Ledger* ledger = member.first() ? scratch.ledger() : nullptr;
        if (job.outputs.loss)
            note_penalties(shared, job.penalties, own.model(), own.device_slots(), job.params.flat, ledger);
        const Real* of = job.direction ? job.direction->params_dot : job.params.flat;
        const Penalties p{job.penalties.l2, job.direction ? 0.0 : job.penalties.l1};
        if (job.outputs.grad.wanted() && of != nullptr)
            add_penalties(shared, p, own.model(), of, job.outputs.grad.flat);
    });
}

}  // namespace

template <class Real>
void prepare(Backend<Real>& on, const Member& member, TeamScratch<Real>& scratch, const Job<Real>& job) {
    MemberScratch<Real>& own = scratch.member(member.index);
    own.slots().scale = job.scale;
    own.slots().step = job.step ? job.step->number : 0;
    if (!job.step) own.slots().entry = 0;
    own.upload_slots(on);
}

template <class Real>
bool run_job(Backend<Real>& on, const Member& member, const Plan& plan, TeamScratch<Real>& scratch,
             const Job<Real>& job) {
    MemberScratch<Real>& own = scratch.member(member.index);
    bool done = false;
    if (plan.shares_operations()) {
        on.clear(&scratch.loss_sum(member.index));
        Cooperative<Real> shared(on, member.barrier, member.index, plan, scratch.shared_sums(plan));
        const Blend<Real>* first =
            job.outputs.accumulate ? &own.device_slots().accumulate : &own.device_slots().overwrite;
        done = run_tiles<Real>(shared, on, member, scratch, own, job, 0, plan.rows, plan, job.outputs.grad, first,
                               scratch.loss_sum(member.index));
    } else {
        done = run_groups(on, member, plan, scratch, job);
    }
    if (done) finish_penalties(on, member, plan, scratch, job);
    return done;
}

template void prepare(Backend<float>&, const Member&, TeamScratch<float>&, const Job<float>&);
template void prepare(Backend<double>&, const Member&, TeamScratch<double>&, const Job<double>&);
template bool run_job(Backend<float>&, const Member&, const Plan&, TeamScratch<float>&, const Job<float>&);
template bool run_job(Backend<double>&, const Member&, const Plan&, TeamScratch<double>&, const Job<double>&);

}  // namespace fastbp
