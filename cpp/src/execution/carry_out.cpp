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
        for (std::size_t k = 0; k < layers.size(); ++k) layers[k] = values(k);
        return {{input()}, layers};
    }

    // delta(L) of the tile, and the loss added to the slot.
    void seed(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        switch (job_.seed) {
            case Seed::none: return;
            case Seed::loss: return seed_by_loss(net, pass, loss_sum);
            case Seed::function: return seed_by_function(net, pass, loss_sum);
            case Seed::cotangent:
                on_.load_rows(job_.cotangent, {nullptr, begin_, n_}, pass.last().delta);
                return on_.multiply_by_derivative(net.back().g, pass.last().s, pass.last().x, pass.last().delta);
        }
    }

  private:
    LayerValues<Real> values(std::size_t k) {
        const LayerValues<Real> scratch = workspace_.scratch(Index(k)).row_block(0, n_);
        if (job_.kept.empty()) return scratch;
        const LayerValues<Real> kept = job_.kept[k].row_block(begin_, begin_ + n_);
        const Matrix<Real> x = kept.x.empty() ? scratch.x : kept.x;
        const bool shared = scratch.s.data == scratch.x.data;
        const Matrix<Real> s = !kept.s.empty() ? kept.s : (shared ? x : scratch.s);
        return {s, x, kept.delta.empty() ? scratch.delta : kept.delta, {}};
    }

    Matrix<const Real> input() {
        if (!job_.x_view.empty()) return job_.x_view.row_block(rows_.first, rows_.first + n_);
        const Matrix<Real> tile = workspace_.x0().row_block(0, n_);
        on_.load_rows(job_.x, rows_, tile);
        return tile;
    }

    Matrix<double> weights() {
        if (job_.weights.empty()) return {};
        const Index cols = job_.weights.cols;
        const Matrix<double> tile = dense(workspace_.weights().data, n_, cols);
        on_.load_weights(job_.weights, rows_, tile);
        return tile;
    }

    void seed_by_loss(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        Target<Real> y;
        if (job_.y_is_classes) {
            const Vector<std::int32_t> classes = workspace_.classes().block(0, n_);
            on_.load_classes(job_.y, rows_, classes);
            y.classes = {classes.data, classes.size};
        } else {
            const Matrix<Real> values = workspace_.y().row_block(0, n_);
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
    void seed_by_function(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        double* e = job_.example_loss != nullptr ? job_.example_loss + begin_ : workspace_.example().data;
        const LayerValues<Real>& last = pass.last();
        if (job_.function.function(job_.function.context, rows_.order, rows_.first, n_, last.x.data, e,
                                   last.delta.data) != 0)
            throw Error(ErrorKind::interrupted, "the loss function failed");
        const Matrix<double> c = weights();
        double* factor = workspace_.weights().data;
        double sum = 0;
        for (Index i = 0; i < n_; ++i) {
            factor[i] = job_.scale * (c.empty() ? 1.0 : c(i, 0));
            sum += factor[i] * e[i];
        }
        loss_sum += sum;
        on_.scale_rows({factor, n_}, last.delta);
        on_.multiply_by_derivative(net.back().g, last.s, last.x, last.delta);
    }

    Backend<Real>& on_;
    Workspace<Real>& workspace_;
    const Job<Real>& job_;
    const Index begin_, n_;
    const RowRange rows_;
};

// The tiles of one group. The first tile's gradient is blended by `first`, each later one is added.
template <class Real>
void carry_group(Backend<Real>& on, Workspace<Real>& workspace, const Job<Real>& job, Index begin, Index end,
                 Index tile_rows, Real* grad, const Blend<Real>* first, double& loss_sum) {
    const Network<Real> net = workspace.network(job.params);
    const auto& slots = workspace.slots();
    // Without rows there is one empty tile all the same: an overwritten gradient becomes zeros.
    Index at = begin;
    do {
        if (job.poll != nullptr) (*job.poll)();
        const Index tile_end = std::min(end, at + tile_rows);
        Tile<Real> tile(on, workspace, job, at, tile_end);
        const Pass<Real> pass = tile.pass();
        if (!job.forward_done) forward(on, net, pass);
        tile.seed(net, pass, loss_sum);
        if (job.finite_or_stop && !std::isfinite(loss_sum))
            throw Error(ErrorKind::floating_point, "the loss is not finite");
        if (job.backward()) {
            const Blend<Real>* blend = at == begin ? first : &slots.accumulate;
            Sink<Real> sink;
            if (job.into_parameters)
                sink = workspace.sink(grad, &slots.step_w, &slots.step_b);
            else if (grad != nullptr)
                sink = workspace.sink(grad, blend, blend);
            backpropagate(on, net, pass, sink, job.input_grad.row_block(at, tile_end));
        }
        at = tile_end;
    } while (at < end);
}

}  // namespace

Index gradients_needed(const Plan& plan) { return plan.groups > 1 ? plan.groups : 0; }

template <class Real>
double carry_out(Backend<Real>& on, const Model& model, const Plan& plan, Workspace<Real>& workspace,
                 const Job<Real>& job) {
    auto& slots = workspace.slots();
    slots.scale = job.scale;
    const bool own_sums = job.grad != nullptr && plan.groups > 1;
    double loss = 0;
    for (Index group = 0; group < plan.groups; ++group) {
        double& sum = workspace.loss_sum(group) = 0;
        carry_group(on, workspace, job, plan.group_edge(group), plan.group_edge(group + 1), plan.tile,
                    own_sums ? workspace.gradient(group).data : job.grad,
                    own_sums || !job.accumulate ? &slots.overwrite : &slots.accumulate, sum);
        loss += sum;
    }
    if (own_sums)
        on.reduce(workspace.partials(plan.groups), job.accumulate ? Real(1) : Real(0),
                  {job.grad, model.parameter_count});
    return loss;
}

template double carry_out(Backend<float>&, const Model&, const Plan&, Workspace<float>&, const Job<float>&);
template double carry_out(Backend<double>&, const Model&, const Plan&, Workspace<double>&, const Job<double>&);

}  // namespace fastbp
