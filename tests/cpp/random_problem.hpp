// Random networks, data and plans for passes that a team shares.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "execution/job.hpp"
#include "execution/plan.hpp"

namespace fastbp::test {

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull) {
        for (int k = 0; k < 8; ++k) next();
    }
    Index below(Index n) { return Index(next() % std::uint64_t(n)); }
    bool chance(int percent) { return below(100) < percent; }
    // Between -1 and 1.
    double number() { return 2 * double(next() >> 11) / 9007199254740992.0 - 1; }
    template <class T>
    T one_of(std::initializer_list<T> values) {
        return values.begin()[below(Index(values.size()))];
    }
    template <class T>
    std::vector<T> numbers(Index count, double scale = 1) {
        std::vector<T> all(std::size_t(count), T(0));
        for (T& number : all) number = T(scale * this->number());
        return all;
    }

  private:
    std::uint64_t next() {  // xorshift64*: Vigna 2016
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return (state_ * 2685821657736338717ull) >> 1;
    }
    std::uint64_t state_;
};

// A rectangular array as the core reads it.
template <class T>
RowSource source_of(const std::vector<T>& numbers, Index cols, NumberType type) {
    constexpr Index size = sizeof(T);
    RowSource source;
    source.data = reinterpret_cast<const std::byte*>(numbers.data());
    source.type = type;
    source.rows = Index(numbers.size()) / cols;
    source.cols = cols;
    source.row_stride = cols * size;
    source.col_stride = size;
    return source;
}
template <class Real>
constexpr NumberType type_of = sizeof(Real) == 4 ? NumberType::float32 : NumberType::float64;

// How X comes: a view that is used in place, rows that are gathered in an order, or compressed rows.
enum class Rows { in_place, gathered, compressed };

// Sizes of all kinds, or such that both members of a team of two have blocks of every operation.
enum class Sizes { any, shared_by_two };

template <class Real>
struct Problem {
    Random random;
    Sizes sizes;
    Model model;
    Plan plan;
    Rows kind = Rows::in_place;
    Index N = 0;
    std::vector<Real> params, other_params, params_dot, X, X_dot, y, cotangent;
    std::vector<std::int32_t> classes;
    std::vector<double> c;
    Index weight_cols = 0;  // 0: no weights
    bool has_masks = false;
    std::vector<Index> order;
    std::vector<Index> starts, columns;  // of compressed rows
    std::vector<Real> kept;
    Index kept_per_row = 0;

    explicit Problem(std::uint64_t seed, Sizes which = Sizes::any) : random(seed), sizes(which) {
        make_plan();
        make_model();
        make_rows();
        make_targets();
        make_weights();
    }
    Problem(const Problem&) = delete;

    // The rows, in the order in which the job takes them.
    Job<Real> rows() const {
        Job<Real> job;
        job.params = {params.data()};
        job.rows.range = job.rows.host_range = {order.empty() ? nullptr : order.data(), 0, N};
        RowSource& x = job.rows.x;
        x = source_of(X, model.inputs(), type_of<Real>);
        job.rows.has_masks = has_masks;
        if (weight_cols > 0) job.rows.weights = source_of(c, weight_cols, NumberType::float64);
        if (kind == Rows::in_place) job.rows.x_view = dense(X.data(), N, model.inputs());
        if (kind != Rows::compressed) return job;
        job.rows.kept_per_row = kept_per_row;
        x.data = reinterpret_cast<const std::byte*>(kept.data());
        x.columns = reinterpret_cast<const std::byte*>(columns.data());
        x.starts = reinterpret_cast<const std::byte*>(starts.data());
        return job;
    }
    // With the loss of the model.
    Job<Real> with_loss() const {
        Job<Real> job = rows();
        job.scale = 1.0 / double(N);
        job.seed = classes.empty() ? LossSeed{source_of(y, model.outputs(), type_of<Real>), false}
                                   : LossSeed{source_of(classes, 1, NumberType::int32), true};
        return job;
    }

  private:
    void make_plan() {
        const bool any = sizes == Sizes::any;
        N = any ? 1 + random.below(40) : 60;
        plan.schedule = any && random.chance(20) ? Schedule::rows : Schedule::cooperative;
        plan.rows = N;
        plan.parts = any ? int(2 + random.below(3)) : 2;
        plan.tile = any ? random.one_of<Index>({N, N, 8, 12}) : random.one_of<Index>({N, 40});
    }

    void make_model() {
        const auto width = [&] {
            return sizes == Sizes::any ? random.one_of<Index>({1, 3, 16, 24, 32, 40, 64, 70, 96, 130})
                                       : random.one_of<Index>({24, 40, 70, 130});
        };
        const Index layers = sizes == Sizes::any ? 1 + random.below(4) : 3;
        Index inputs = width();
        for (Index l = 0; l < layers; ++l) {
            const Index outputs = l > 0 && random.chance(40) ? inputs : width();
            LayerShape layer{inputs, outputs, Activation(random.below(10)), 0.1, model.parameter_count};
            layer.first_b = layer.first_w + layer.inputs * layer.outputs;
            model.parameter_count = layer.first_b + layer.outputs;
            model.layers.push_back(layer);
            inputs = layer.outputs;
        }
        choose_loss(model.layers.back());
        model.weights_by_outputs = random.chance(30);
        if (random.chance(30)) model.l2 = 0.01;
        if (random.chance(20)) model.l1 = 0.01;
        params = random.numbers<Real>(model.parameter_count, 0.3);
        other_params = random.numbers<Real>(model.parameter_count, 0.3);
        params_dot = random.numbers<Real>(model.parameter_count);
    }

    void choose_loss(LayerShape& last) {
        model.loss = random.one_of(
            {Loss::squared_error, Loss::cross_entropy, Loss::cross_entropy, Loss::poisson, Loss::huber, Loss::pinball});
        if (model.loss == Loss::cross_entropy)
            last.g = last.outputs > 1 && random.chance(60) ? Activation::softmax : Activation::logistic;
        if (model.loss == Loss::poisson) last.g = Activation::exp;
        if (model.loss == Loss::huber || model.loss == Loss::pinball)
            model.loss_parameter.assign(std::size_t(last.outputs), 0.5);
    }

    void make_rows() {
        const Index cols = model.inputs();
        X = random.numbers<Real>(N * cols);
        X_dot = random.numbers<Real>(N * cols);
        kind = random.one_of({Rows::in_place, Rows::gathered, Rows::compressed});
        if (kind != Rows::in_place)
            for (Index n = 0; n < N; ++n) order.push_back(random.below(N));
        starts.push_back(0);
        for (Index n = 0; n < N; ++n) {
            for (Index j = 0; j < cols; ++j) {
                if (random.chance(70)) continue;
                columns.push_back(j);
                kept.push_back(X[std::size_t(n * cols + j)]);
            }
            starts.push_back(Index(kept.size()));
            kept_per_row = std::max(kept_per_row, starts.back() - starts[std::size_t(n)]);
        }
        kept_per_row = std::max<Index>(kept_per_row, 1);
    }

    void make_targets() {
        const Index outputs = model.outputs();
        cotangent = random.numbers<Real>(N * outputs);
        if (model.layers.back().g == Activation::softmax && random.chance(60)) {
            for (Index n = 0; n < N; ++n) classes.push_back(std::int32_t(random.below(outputs)));
            return;
        }
        y = random.numbers<Real>(N * outputs);
        for (Real& number : y) number = std::abs(number);
        if (model.layers.back().g != Activation::softmax) return;
        for (Index n = 0; n < N; ++n) {
            Real sum = 0;
            for (Index j = 0; j < outputs; ++j) sum += y[std::size_t(n * outputs + j)];
            for (Index j = 0; j < outputs; ++j) y[std::size_t(n * outputs + j)] /= sum;
        }
    }

    void make_weights() {
        const bool whole_rows = model.layers.back().g == Activation::softmax;
        weight_cols = random.one_of<Index>({0, 1, 1, whole_rows ? 1 : model.outputs()});
        has_masks = weight_cols > 0 && random.chance(60);
        c = random.numbers<double>(N * weight_cols);
        for (double& weight : c) weight = has_masks && random.chance(30) ? 0 : 1 + weight;
        if (!c.empty()) c.front() = 1;
    }
};

}  // namespace fastbp::test
