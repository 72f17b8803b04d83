#include "execution/carry_out.hpp"

#include <algorithm>
#include <cmath>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"

namespace fastbp {
namespace {

// One tile of a job: rows [begin, end) of the batch.
template <class Real>
class Tile {
  public:
    Tile(Backend<Real>& on, Workspace<Real>& workspace, const Job<Real>& job, Index begin, Index end)
        : on_(on),
          workspace_(workspace),
          job_(job),
          begin_(begin),
          n_(end - begin),
          rows_(job.rows.block(begin, end)) {}

    // The views of the pass: the caller's memory where `kept` names some, scratch elsewhere.
    Pass<Real> pass() {
        auto& layers = workspace_.pass_layers();
        for (std::size_t k = 0; k < layers.size(); ++k) {
            layers[k] = values(k);
            const double rate = workspace_.model().layers[k].dropout;
            if (job_.drops_units && rate > 0)
                layers[k].dropout = {1 - rate, job_.seed_of_dropout, &workspace_.slots().step, std::uint32_t(k), rows_};
        }
        return {{input()}, layers};
    }

    // delta(L) of the tile, and the loss added to the slot. False where the caller's loss function failed.
    bool seed(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        switch (job_.seed) {
            case Seed::none: return true;
            case Seed::loss: seed_by_loss(net, pass, loss_sum); return true;
            case Seed::function: return seed_by_function(net, pass, loss_sum);
            case Seed::cotangent:
                on_.load_rows(job_.cotangent, {nullptr, begin_, n_}, pass.last().delta);
                on_.multiply_by_derivative(net.back().g, pass.last().s, pass.last().x, pass.last().delta);
                return true;
        }
        return true;
    }

  private:
    LayerValues<Real> values(std::size_t k) {
        const LayerValues<Real> scratch = workspace_.tile().layers[k].row_block(0, n_);
        if (job_.kept.empty()) return scratch;
        const LayerValues<Real> kept = job_.kept[k].row_block(begin_, begin_ + n_);
        const Matrix<Real> x = kept.x.empty() ? scratch.x : kept.x;
        const bool shared = scratch.s.data == scratch.x.data;
        const Matrix<Real> s = !kept.s.empty() ? kept.s : (shared ? x : scratch.s);
        return {s, x, kept.delta.empty() ? scratch.delta : kept.delta, {}};
    }

    Matrix<const Real> input() {
        if (!job_.x_view.empty()) return job_.x_view.row_block(rows_.first, rows_.first + n_);
        const Matrix<Real> tile = workspace_.tile().x0.row_block(0, n_);
        on_.load_rows(job_.x, rows_, tile);
        return tile;
    }

    Matrix<double> weights() {
        if (job_.weights.empty()) return {};
        const Index cols = job_.weights.cols;
        const Matrix<double> tile = dense(workspace_.tile().weights.data, n_, cols);
        on_.load_weights(job_.weights, rows_, tile);
        return tile;
    }

    void seed_by_loss(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        Target<Real> y;
        if (job_.y_is_classes) {
            const Vector<std::int32_t> classes = workspace_.tile().classes.block(0, n_);
            on_.load_classes(job_.y, rows_, classes);
            y.classes = {classes.data, classes.size};
        } else {
            const Matrix<Real> values = workspace_.tile().y.row_block(0, n_);
            on_.load_rows(job_.y, rows_, values);
            y.values = values;
        }
        y.c = weights();
        y.scale = &workspace_.slots().scale;
        const LossSlots slots{&loss_sum, job_.example_loss == nullptr ? Vector<double>{}
                                                                      : Vector<double>{job_.example_loss + begin_, n_}};
        on_.output_delta(workspace_.loss(), net.back().g, pass.last().s, pass.last().x, y,
                         job_.backward() ? pass.last().delta : Matrix<Real>{}, slots);
    }

    // e and dx come from the caller; the weights become one factor per row.
    bool seed_by_function(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        double* e = job_.example_loss != nullptr ? job_.example_loss + begin_ : workspace_.tile().example.data;
        const LayerValues<Real>& last = pass.last();
        if (job_.function.function(job_.function.context, rows_.order, rows_.first, n_, last.x.data, e,
                                   last.delta.data) != 0)
            return false;
        const Matrix<double> c = weights();
        double* factor = workspace_.tile().weights.data;
        double sum = 0;
        for (Index i = 0; i < n_; ++i) {
            factor[i] = job_.scale * (c.empty() ? 1.0 : c(i, 0));
            sum += factor[i] * e[i];
        }
        loss_sum += sum;
        on_.scale_rows({factor, n_}, last.delta);
        on_.multiply_by_derivative(net.back().g, last.s, last.x, last.delta);
        return true;
    }

    Backend<Real>& on_;
    Workspace<Real>& workspace_;
    const Job<Real>& job_;
    const Index begin_, n_;
    const RowRange rows_;
};

// The tiles of one group, or of the whole batch where the team shares the operations (`on` is then Cooperative). The
// first tile's gradient is blended by `first`, each later one is added.
//
// Members that share must agree when to stop. Only the first asks the poll, before and after the forward pass; all look
// at the answer, and at the loss, after a meeting and before (5); and the tile ends in a meeting, so that the first cannot ask
// again before all have looked. False: stopped.
template <class Real>
bool carry_tiles(Backend<Real>& on, const Member& member, Crew<Real>& crew, Workspace<Real>& workspace,
                 const Job<Real>& job, Index begin, Index end, Index tile_rows, Real* grad, const Blend<Real>* first,
                 double& loss_sum) {
    const Network<Real> net = workspace.network(job.params);
    const auto& slots = workspace.slots();
    // Without rows there is one empty tile all the same: an overwritten gradient becomes zeros.
    Index at = begin;
    do {
        if (member.first() && job.poll != nullptr && job.poll->wants_stop()) crew.stop(Stop::interrupted);
        const Index tile_end = std::min(end, at + tile_rows);
        Tile<Real> tile(on, workspace, job, at, tile_end);
        const Pass<Real> pass = tile.pass();
        if (!job.forward_done) forward(on, net, pass);
        if (member.first() && job.poll != nullptr && job.poll->wants_stop()) crew.stop(Stop::interrupted);
        if (!tile.seed(net, pass, loss_sum)) crew.stop(Stop::callback_failed);
        if (job.seed != Seed::loss) on.meet();  // that seed has met to sum the loss
        if (job.finite_or_stop && !std::isfinite(loss_sum)) crew.stop(Stop::not_finite);
        if (crew.stopped() != Stop::none) return false;
        if (job.backward()) {
            const Blend<Real>* blend = at == begin ? first : &slots.accumulate;
            Sink<Real> sink;
            if (job.into_parameters)
                sink = workspace.sink(grad, &slots.step_w, &slots.step_b);
            else if (grad != nullptr)
                sink = workspace.sink(grad, blend, blend);
            backpropagate(on, net, pass, sink, job.input_grad.row_block(at, tile_end));
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
    const auto& slots = workspace.slots();
    const bool own_sums = job.grad != nullptr && plan.partial_gradients() > 0;
    for (int group = member.index; group < plan.parts; group += member.team()) {
        double& sum = crew.loss_sum(group) = 0;
        const bool done =
            carry_tiles(on, member, crew, workspace, job, plan.group_edge(group), plan.group_edge(group + 1), plan.tile,
                        own_sums ? crew.gradient(group).data : job.grad,
                        own_sums || !job.accumulate ? &slots.overwrite : &slots.accumulate, sum);
        if (!done) break;
    }
    member.meet();
    const bool all_done = crew.stopped() == Stop::none;  // members stop each for itself here, and agree at the meeting
    if (own_sums && !job.leave_partials && all_done) {
        const Index size = crew.gradient(0).size;
        together(on, member, plan, crew)
            .reduce(crew.partials(0, plan.parts), job.accumulate ? Real(1) : Real(0), {job.grad, size});
        member.meet();
    }
    return all_done;
}

}  // namespace

template <class Real>
bool carry_out(Backend<Real>& on, const Member& member, const Plan& plan, Crew<Real>& crew, const Job<Real>& job) {
    Workspace<Real>& workspace = crew.workspace(member.index);
    workspace.slots().scale = job.scale;
    workspace.slots().step = job.step;
    if (!plan.shares_operations()) return carry_groups(on, member, plan, crew, job);
    double& loss_sum = crew.loss_sum(member.index) = 0;
    Cooperative<Real> shared = together(on, member, plan, crew);
    const Blend<Real>* first = job.accumulate ? &workspace.slots().accumulate : &workspace.slots().overwrite;
    return carry_tiles<Real>(shared, member, crew, workspace, job, 0, plan.rows, plan.tile, job.grad, first, loss_sum);
}

template bool carry_out(Backend<float>&, const Member&, const Plan&, Crew<float>&, const Job<float>&);
template bool carry_out(Backend<double>&, const Member&, const Plan&, Crew<double>&, const Job<double>&);

}  // namespace fastbp
