// One tile of a job: the views of its pass and of its tangents, and what seeds the recursion.
#pragma once

#include "algorithm/backpropagate.hpp"
#include "execution/call_back.hpp"
#include "execution/job.hpp"
#include "execution/team_scratch.hpp"
#include "seam/load_rows.hpp"

namespace fastbp {

// One tile of a job: rows [begin, end) of the batch.
template <class Real>
class Tile {
  public:
    // `distant`: the process cannot read the memory of the operations.
    Tile(Operations<Real>& on, Memory& memory, bool distant, MemberScratch<Real>& own, const Job<Real>& job,
         Index begin, Index end)
        : on_(on),
          memory_(memory),
          distant_(distant),
          own_(own),
          job_(job),
          begin_(begin),
          n_(end - begin),
          rows_(job.rows.range.block(begin, end)) {}

    // The views of the pass: the caller's memory where `kept` names some, scratch elsewhere.
    Pass<Real> pass() {
        auto& layers = own_.pass_layers();
        for (std::size_t k = 0; k < layers.size(); ++k) {
            layers[k] = values(k);
            const double rate = own_.model().layers[k].dropout;
            if (job_.step && rate > 0)
                layers[k].dropout = {1 - rate, job_.step->dropout_seed, &own_.device_slots().step, std::uint32_t(k),
                                     rows_};
        }
        return {input(), layers};
    }

    // Its tangents. x_dot(L) goes to the caller's memory where that is wanted.
    TangentPass<Real> tangents() {
        const Direction<Real>& direction = *job_.direction;
        const TileTangents<Real>& scratch = own_.tile().tangents;
        auto& layers = own_.tangent_layers();
        for (std::size_t k = 0; k < layers.size(); ++k) layers[k] = scratch.layers[k].row_block(0, n_);
        if (!direction.output_dot.empty()) layers.back().x = direction.output_dot.row_block(begin_, begin_ + n_);
        TangentPass<Real> dot;
        if (!direction.x_dot.empty()) {
            const Matrix<Real> x0 = scratch.x0.row_block(0, n_);
            on_.load_rows(direction.x_dot, rows_, x0);
            if (job_.clears_masked()) on_.clear_masked_rows(weights(), x0);
            dot.x0 = x0;
        }
        if (direction.params_dot != nullptr) dot.net = own_.direction(direction.params_dot);
        dot.layer = layers;
        return dot;
    }

    // y and the weights of the tile's rows.
    const Target<Real>& target() {
        Target<Real>& y = target_;
        if (y.scale != nullptr) return y;
        const LossSeed& given = std::get<LossSeed>(job_.seed);
        if (given.y_is_classes) {
            const Vector<std::int32_t> classes = own_.tile().classes.block(0, n_);
            on_.load_classes(given.y, rows_, classes);
            y.classes = {classes.data, classes.size};
        } else {
            const Matrix<Real> values = own_.tile().y.row_block(0, n_);
            on_.load_rows(given.y, rows_, values);
            y.values = values;
        }
        y.c = weights();
        y.scale = &own_.device_slots().scale;
        return y;
    }

    // delta(L) of the tile, and the loss added to the slot. False where the caller's loss function failed.
    bool seed(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        if (const auto* by_function = std::get_if<FunctionSeed>(&job_.seed))
            return seed_by_function(*by_function, net, pass, loss_sum);
        if (job_.by_loss()) seed_by_loss(net, pass, loss_sum);
        if (const auto* given = std::get_if<CotangentSeed>(&job_.seed)) {
            on_.load_rows(given->cotangent, {nullptr, begin_, n_}, pass.last().delta);
            on_.copy(pass.last().delta, pass.last().u);
            on_.multiply_by_derivative(net.back().g, pass.last().s, pass.last().x, pass.last().delta);
        }
        return true;
    }

    // (9): delta_dot(L), after seed().
    void seed_tangent(Network<Real> net, const Pass<Real>& pass, const TangentPass<Real>& dot) {
        const LayerValues<Real>& last = pass.last();
        const LayerTangents<Real>& tangent = dot.layer.back();
        const ActivationFunction<Real> g = net.back().g;
        if (job_.by_loss())
            return on_.output_delta_tangent(own_.loss(), g, last.s, last.x, target_, tangent.s, tangent.delta,
                                            Curvature::hessian);
        // The caller's cotangent is u(L) and does not move.
        static constexpr Real zero = 0;
        constexpr NumberType type = sizeof(Real) == 4 ? NumberType::float32 : NumberType::float64;
        on_.load_rows({reinterpret_cast<const std::byte*>(&zero), type, false, n_, last.x.cols, 0, 0}, {nullptr, 0, n_},
                      tangent.delta);
        on_.derivative_tangent(g, last.s, last.x, tangent.s, last.u, tangent.delta);
    }

    // The seed of the Gauss-Newton product, in the place of delta(L): the Gauss-Newton curvature with respect to s(L)
    // times s_dot(L). The curvature is positive semidefinite for a convex loss.
    void seed_gauss_newton(Network<Real> net, const Pass<Real>& pass, const TangentPass<Real>& dot) {
        const LayerValues<Real>& last = pass.last();
        on_.output_delta_tangent(own_.loss(), net.back().g, last.s, last.x, target_, dot.layer.back().s, last.delta,
                                 Curvature::gauss_newton);
    }

    // Sets delta(L), or its tangent, to 0 for outputs of weight 0, because g' may be inf there. If g couples
    // the outputs of a row, only whole rows are masked.
    void clear_masked(ActivationFunction<Real> g, Matrix<Real> delta) {
        if (!job_.clears_masked()) return;
        if (couples_columns(g.kind))
            on_.clear_masked_rows(weights(), delta);
        else
            on_.clear_masked_outputs(weights(), delta);
    }

    // After seed(). Weights of single outputs belong to the row's loss.
    ExampleNorms examples() {
        if (!job_.needs_example_norms()) return {};
        ExampleNorms e;
        if (target_.c.cols == 1) e.c = {target_.c.data, n_};
        e.scale = &own_.device_slots().scale;
        e.limit = job_.max_example_norm;
        e.squares = own_.tile().example.block(0, n_);
        if (job_.outputs.example_grad_norm != nullptr) e.norm = {job_.outputs.example_grad_norm + begin_, n_};
        return e;
    }

  private:
    LayerValues<Real> values(std::size_t k) {
        LayerValues<Real> scratch = own_.tile().layers[k].row_block(0, n_);
        if (job_.direction && job_.direction->mode == TangentMode::gradient)
            scratch.u = own_.tile().tangents.u[k].row_block(0, n_);
        if (job_.outputs.kept.empty()) return scratch;
        const LayerValues<Real> kept = job_.outputs.kept[k].row_block(begin_, begin_ + n_);
        const Matrix<Real> x = kept.x.empty() ? scratch.x : kept.x;
        const bool shared = scratch.s.data == scratch.x.data;
        const Matrix<Real> s = !kept.s.empty() ? kept.s : (shared ? x : scratch.s);
        return {s, x, kept.delta.empty() ? scratch.delta : kept.delta, {}};
    }

    Input<Real> input() {
        const bool clears = job_.clears_masked();
        if (!job_.rows.x_view.empty() && !clears) return {job_.rows.x_view.row_block(rows_.first, rows_.first + n_)};
        const Matrix<const double> c = clears ? weights() : Matrix<double>{};
        if (job_.rows.kept_per_row > 0) {
            const CsrTile<Real>& tile = own_.tile().compressed_x0;
            on_.load_csr(job_.rows.x, rows_, tile);
            if (clears) on_.clear_masked_csr(c, tile);
            csr_ = {tile.starts, tile.columns, tile.values, n_, job_.rows.x.cols};
            return {{}, &csr_};
        }
        const Matrix<Real> tile = own_.tile().x0.row_block(0, n_);
        on_.load_rows(job_.rows.x, rows_, tile);
        if (clears) on_.clear_masked_rows(c, tile);
        return {tile};
    }

    // The weights of the tile's rows, loaded once.
    Matrix<double> weights() {
        const RowSource& source = job_.rows.weights;
        if (source.empty() || !weights_.empty()) return weights_;
        weights_ = dense(own_.tile().weights.data, n_, source.cols);
        if (distant_ && job_.by_function()) {  // the weights are in the process's memory
            std::vector<double> c(std::size_t(n_), 0.0);
            load_rows(source, host_rows(), Matrix<double>{c.data(), n_, 1, 1, 1});
            memory_.upload(c.data(), weights_.data, c.size() * sizeof(double));
        } else {
            on_.load_weights(source, rows_, weights_);
        }
        return weights_;
    }

    void seed_by_loss(Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        double* e = job_.outputs.example_loss;
        const LossSlots slots{&loss_sum, e == nullptr ? Vector<double>{} : Vector<double>{e + begin_, n_}};
        on_.output_delta(own_.loss(), net.back().g, pass.last().s, pass.last().x, target(),
                         job_.backward() ? pass.last().delta : Matrix<Real>{}, slots);
        clear_masked(net.back().g, pass.last().delta);
    }

    // e and dx come from the caller. Those of a row of weight 0 are not read.
    bool seed_by_function(const FunctionSeed& loss, Network<Real> net, const Pass<Real>& pass, double& loss_sum) {
        if (distant_) return seed_by_distant_function(loss, net, pass, loss_sum);
        double* e =
            job_.outputs.example_loss != nullptr ? job_.outputs.example_loss + begin_ : own_.tile().example.data;
        const LayerValues<Real>& last = pass.last();
        if (!call(loss, last.x.data, e, last.delta.data)) return false;
        target_.c = weights();
        double* factor = own_.tile().example.data;  // where e may lie
        double sum = 0;
        for (Index i = 0; i < n_; ++i) {
            const double c = target_.c.empty() ? 1.0 : target_.c(i, 0), f = job_.scale * c;
            if (c == 0) e[i] = 0;
            sum += f * e[i];
            factor[i] = f;
        }
        loss_sum += sum;
        on_.scale_rows({factor, n_}, last.delta);
        on_.multiply_by_derivative(net.back().g, last.s, last.x, last.delta);
        clear_masked(net.back().g, last.delta);
        return true;
    }

    // The same where the backend's memory is not the process's, which the function works in: x(L) and what the function
    // makes of it are copied. The weights are then the process's too.
    bool seed_by_distant_function(const FunctionSeed& loss, Network<Real> net, const Pass<Real>& pass,
                                  double& loss_sum) {
        const LayerValues<Real>& last = pass.last();
        const Index cols = last.x.cols;
        std::vector<Real> x(std::size_t(n_ * cols)), dx(x.size());
        std::vector<double> e(std::size_t(n_), 0.0), c(e.size(), 1.0);
        memory_.download(last.x.data, x.data(), x.size() * sizeof(Real));
        if (!call(loss, x.data(), e.data(), dx.data())) return false;
        if (!job_.rows.weights.empty())
            load_rows(job_.rows.weights, host_rows(), Matrix<double>{c.data(), n_, 1, 1, 1});
        target_.c = weights();
        double sum = 0;
        memory_.download(&loss_sum, &sum, sizeof sum);
        for (Index i = 0; i < n_; ++i) {
            const double f = job_.scale * c[std::size_t(i)];
            if (c[std::size_t(i)] == 0) {
                e[std::size_t(i)] = 0;
                std::fill_n(dx.begin() + i * cols, cols, Real(0));
            }
            sum += f * e[std::size_t(i)];
            for (Index j = i * cols; j < (i + 1) * cols; ++j) dx[std::size_t(j)] *= Real(f);
        }
        memory_.upload(&sum, &loss_sum, sizeof sum);
        memory_.upload(dx.data(), last.delta.data, dx.size() * sizeof(Real));
        if (double* to = job_.outputs.example_loss) memory_.upload(e.data(), to + begin_, e.size() * sizeof(double));
        on_.multiply_by_derivative(net.back().g, last.s, last.x, last.delta);
        clear_masked(net.back().g, last.delta);
        return true;
    }

    bool call(const FunctionSeed& loss, const Real* x, double* e, Real* dx) const {
        const RowRange rows = host_rows();
        return call_back(loss.function, loss.context, rows.order, rows.first, n_, x, e, dx) == 0;
    }

    RowRange host_rows() const { return job_.rows.host_range.block(begin_, begin_ + n_); }

    Operations<Real>& on_;
    Memory& memory_;
    const bool distant_;
    MemberScratch<Real>& own_;
    const Job<Real>& job_;
    const Index begin_, n_;
    const RowRange rows_;
    Target<Real> target_;
    Matrix<double> weights_;
    Csr<Real> csr_;
};

}  // namespace fastbp
