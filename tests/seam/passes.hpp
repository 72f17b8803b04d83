// The algorithm over any backend and any team, on arrays that the tests give: whole passes, or only a part of one.
#pragma once

#include <algorithm>
#include <thread>
#include <vector>

#include "algorithm/backpropagate.hpp"
#include "algorithm/forward.hpp"
#include "backend/make_backend.hpp"
#include "bind.hpp"
#include "execution/cooperative.hpp"

namespace fastbp::test {

// What a pass works on. Lists have one entry per layer; entries may be any views, None where empty.
template <class Real>
struct PassArguments {
    std::vector<Layer<Real>> layers;
    std::vector<LayerValues<Real>> values;
    std::vector<LayerSink<Real>> sinks;
    Blend<Real> blend_w, blend_b;
    Csr<Real> csr;
    Input<Real> x0;

    Pass<Real> pass() const { return {x0, values}; }
};

struct Lists {
    std::vector<py::array> w, b;
    std::vector<G> g;
    std::vector<Optional> s, x, delta, u;
    std::vector<Optional> sink_w, sink_b;
};

template <class Real>
PassArguments<Real> arguments(const Lists& lists, const py::array& X, std::pair<Real, Real> blend) {
    PassArguments<Real> a;
    a.blend_w = {blend.first, blend.second};
    a.blend_b = a.blend_w;
    for (std::size_t k = 0; k < lists.w.size(); ++k) {
        a.layers.push_back(
            {matrix<const Real>(lists.w[k]), vector<const Real>(lists.b[k]), activation<Real>(lists.g[k])});
        a.values.push_back({matrix<Real>(lists.s[k]), matrix<Real>(lists.x[k]), matrix<Real>(lists.delta[k]),
                            lists.u.empty() ? Matrix<Real>{} : matrix<Real>(lists.u[k])});
    }
    a.x0 = {matrix<const Real>(X)};
    return a;
}

// The pass on one thread (team 0), or by a team of threads over the cooperative decorator. `pass` gets each member's
// backend and number.
template <class Real, class Body>
void run_team(Backend<Real>& one, const PassArguments<Real>& a, int team, int blocks, Body pass) {
    if (team == 0) return run_call(one, [&] { pass(one, 0); });
    Index widest = 0;
    for (const Layer<Real>& layer : a.layers) widest = std::max(widest, layer.w.cols);
    const Index rows = a.values.front().x.rows;
    const Plan plan{Schedule::cooperative, rows, rows, blocks};
    const Index products = SharedSums<Real>::products_size(plan, widest);
    std::vector<double> numbers(4 * std::size_t(blocks));
    std::vector<Real> memory(2 * std::size_t(products));
    Barrier barrier(team);
    std::vector<std::thread> members;
    for (int m = 0; m < team; ++m)
        members.emplace_back([&, m] {
            Cooperative<Real> on(one, barrier, m, plan, {plan, numbers.data(), memory.data(), products});
            pass(on, m);
            on.barrier_wait();
        });
    for (std::thread& member : members) member.join();
}

template <class Real>
void forward_pass(const std::string& device, int team, int blocks, const Lists& lists, const py::array& X) {
    const auto one = make_backend<Real>(device);
    const auto a = arguments<Real>(lists, X, {1, 0});
    const py::gil_scoped_release released;
    run_team<Real>(*one, a, team, blocks, [&](Operations<Real>& on, int) { forward<Real>(on, a.layers, a.pass()); });
}

// With a target: (3) and then the backward pass; without: delta(L) is there already. Returns the loss.
template <class Real>
double backward_pass(const std::string& device, int team, int blocks, const Lists& lists, const py::array& X, int loss,
                     const Optional& parameter, const Optional& values, const Optional& classes, const Optional& c,
                     double scale, std::pair<Real, Real> blend, const Optional& input_grad) {
    const auto one = make_backend<Real>(device);
    auto a = arguments<Real>(lists, X, blend);
    for (std::size_t k = 0; k < lists.sink_w.size(); ++k)
        a.sinks.push_back({matrix<Real>(lists.sink_w[k]), vector<Real>(lists.sink_b[k]), &a.blend_w, &a.blend_b});
    const TargetArgument<Real> target(loss, parameter, values, classes, c, scale);
    const Matrix<Real> grad_x = matrix<Real>(input_grad);
    std::vector<double> sums(std::size_t(std::max(team, 1)));
    const py::gil_scoped_release released;
    run_team<Real>(*one, a, team, blocks, [&](Operations<Real>& on, int member) {
        const Pass<Real> pass = a.pass();
        if (values || classes)
            on.output_delta(target.loss, a.layers.back().g, pass.last().s, pass.last().x, target.y, pass.last().delta,
                            {&sums[std::size_t(member)], {}});
        backpropagate<Real>(on, a.layers, pass, a.sinks, grad_x);
    });
    return sums.front();
}

template <class Real>
void bind_passes(py::module_& m, const std::string& suffix) {
    m.def(("forward" + suffix).c_str(), &forward_pass<Real>);
    m.def(("backward" + suffix).c_str(), &backward_pass<Real>);
}

}  // namespace fastbp::test
