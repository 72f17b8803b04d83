// What threads may do at once, for ThreadSanitizer: teams that share one pass, many callers of one net, one trainer
// each. Every result is compared bit for bit with the same work done alone.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"
#include "backend/make_backend.hpp"
#include "example.hpp"
#include "execution/cooperative.hpp"
#include "execution/workspace.hpp"
#include "model_of.hpp"

namespace fastbp::test {
namespace {

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

// One gradient by a team over the cooperative decorator, with tiles in sequence so that a late member would be caught.
std::vector<double> team_gradient(const Example& example, int team, int blocks, double& loss) {
    const Model model = model_of(example);
    const auto one = make_backend<double>("cpu");
    constexpr Index tile = 16;
    Workspace<double> workspace(*one, model, tile, 0);
    std::vector<double> grad(std::size_t(model.parameter_count)), partial(std::size_t(blocks), 0.0);
    auto& slots = workspace.slots();
    slots.scale = 1.0 / double(example.rows);
    const Network<double> net = workspace.network(example.params.data());
    Barrier barrier(team);
    loss = 0;
    const auto member = [&](int m) {
        Cooperative<double> on(*one, barrier, m, blocks, partial.data());
        std::vector<LayerValues<double>> values(net.size());
        std::vector<LayerSink<double>> sinks(net.size());
        for (Index at = 0; at < example.rows; at += tile) {
            const Index end = std::min(example.rows, at + tile);
            const Blend<double>* blend = at == 0 ? &slots.overwrite : &slots.accumulate;
            for (std::size_t k = 0; k < net.size(); ++k) {
                const LayerShape& shape = model.layers[k];
                values[k] = workspace.scratch(Index(k)).row_block(0, end - at);
                sinks[k] = {dense(grad.data() + shape.first_w, shape.inputs, shape.outputs),
                            {grad.data() + shape.first_b, shape.outputs},
                            blend,
                            blend};
            }
            const Matrix<const double> x0 = dense(example.X.data(), example.rows, model.inputs()).row_block(at, end);
            const Pass<double> pass{{x0}, values};
            forward<double>(on, net, pass);
            const Target<double> y{{}, {example.y.data() + at, end - at}, {}, &slots.scale};
            on.output_delta(workspace.loss(), net.back().g, pass.last().s, pass.last().x, y, pass.last().delta,
                            {&loss, {}});
            backpropagate<double>(on, net, pass, sinks);
        }
    };
    std::vector<std::thread> threads;
    for (int m = 0; m < team; ++m) threads.emplace_back(member, m);
    for (std::thread& thread : threads) thread.join();
    return grad;
}

void teams() {
    const Example example(53);
    double loss1 = 0;
    const std::vector<double> alone = team_gradient(example, 1, 4, loss1);
    for (int team : {2, 3}) {
        double loss = 0;
        expect(team_gradient(example, team, 4, loss) == alone && loss == loss1,
               "a team's gradient has the bits of one");
    }
}

void callers_of_one_net() {
    const Example example(200);
    const Net<double> net = example.net();
    std::vector<double> expected(std::size_t(net.parameter_count()));
    const double value = net.value_and_grad(example.params.data(), example.x(), example.classes(), expected.data());
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t)
        callers.emplace_back([&] {
            std::vector<double> grad(expected.size());
            for (int round = 0; round < 20; ++round) {
                const double v = net.value_and_grad(example.params.data(), example.x(), example.classes(), grad.data());
                expect(v == value && grad == expected, "concurrent gradients equal the one computed alone");
            }
        });
    for (std::thread& caller : callers) caller.join();
}

void trainers() {
    const Example example(96);
    const Net<double> net = example.net();
    const auto train = [&] {
        std::vector<double> params = example.params, m(params.size()), v(params.size()), lr(12, 1e-3);
        void* moments[] = {m.data(), v.data()};
        fastbp_data data = data_of(example.x(), example.classes());
        fastbp_epoch epoch = {};
        epoch.size = sizeof epoch;
        epoch.rule = {sizeof(fastbp_step_rule), FASTBP_ADAM, 0, 0, 0, 0, 0.9, 0.999, 1e-8};
        epoch.moments = moments;
        epoch.batch_size = 8;
        epoch.lr = lr.data();
        require(fastbp_run_epoch(net.handle(), params.data(), &data, &epoch));
        return params;
    };
    const std::vector<double> expected = train();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] { expect(train() == expected, "trainers do not disturb each other"); });
    for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::teams();
    fastbp::test::callers_of_one_net();
    fastbp::test::trainers();
    std::puts("threads: ok");
    return 0;
}
