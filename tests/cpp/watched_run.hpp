// One problem carried out by a team whose members run one at a time over backends that are watched: the results, the
// log of all accesses and the number of barriers.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "backend/make_backend.hpp"
#include "execution/weights.hpp"
#include "random_problem.hpp"
#include "training/steps.hpp"
#include "watched_backend.hpp"

namespace fastbp::test {

enum class Task { forward, gradient, example_norms, pullback, jvp, hvp, gauss_newton, steps };
constexpr int task_count = 8;
inline const char* name_of(Task task) {
    constexpr const char* names[] = {"forward", "gradient", "example norms", "pullback",
                                     "jvp",     "hvp",      "Gauss-Newton",  "steps"};
    return names[int(task)];
}

struct Outcome {
    std::vector<std::byte> results;
    AccessLog log;
    int barriers = 0;
    bool diverged = false;
};

// Everything that a job may write, and what is asked of it.
template <class Real>
struct Results {
    std::vector<Real> params, grad, input_grad, output_dot, values;
    std::vector<Real> moments[most_moments];
    std::vector<double> example_loss, example_norm, losses;
    std::vector<LayerValues<Real>> kept;

    Results(const Problem<Real>& problem)
        : params(problem.params),
          grad(problem.params.size(), Real(0.25)),
          input_grad(problem.X.size(), Real(NAN)),
          output_dot(problem.cotangent.size(), Real(NAN)),
          example_loss(std::size_t(problem.N), NAN),
          example_norm(std::size_t(problem.N), NAN) {
        for (auto& moment : moments) moment.assign(params.size(), 0);
        values.assign(std::size_t(3 * problem.N * problem.model.units()), Real(NAN));
        Real* at = values.data();
        for (const LayerShape& layer : problem.model.layers) {
            const auto next = [&] {
                at += problem.N * layer.outputs;
                return dense(at - problem.N * layer.outputs, problem.N, layer.outputs);
            };
            LayerValues<Real> own;
            own.x = next();
            if (derivative_needs_s(layer.g)) own.s = next();
            own.delta = next();
            kept.push_back(own);
        }
    }

    std::vector<std::byte> bytes() const {
        std::vector<std::byte> all;
        const auto append = [&](const auto& numbers) {
            const auto* data = reinterpret_cast<const std::byte*>(numbers.data());
            all.insert(all.end(), data, data + numbers.size() * sizeof numbers[0]);
        };
        for (const auto* part : {&params, &grad, &input_grad, &output_dot, &values}) append(*part);
        for (const auto& moment : moments) append(moment);
        for (const auto* part : {&example_loss, &example_norm, &losses}) append(*part);
        return all;
    }
};

// The jobs of a task, one after the other.
template <class Real>
std::vector<Job<Real>> jobs_of(Problem<Real>& problem, Task task, Results<Real>& out) {
    Random& random = problem.random;
    Job<Real> job = problem.with_loss();
    job.accumulate = random.chance(30);
    if (task == Task::forward) {
        job = problem.rows();
        if (random.chance(50)) job = problem.with_loss();  // its value
        job.kept = out.kept;
        for (LayerValues<Real>& values : out.kept) values.delta = {};
        return {job};
    }
    if (task == Task::pullback) {
        Job<Real> first = problem.rows(), second = problem.rows();
        first.weights = second.weights = {};
        first.has_masks = second.has_masks = false;
        first.kept = second.kept = out.kept;
        second.seed = Seed::cotangent;
        second.cotangent = source_of(problem.cotangent, problem.model.outputs(), type_of<Real>);
        second.forward_done = true;
        second.grad = {out.grad.data()};
        second.input_grad = dense(out.input_grad.data(), problem.N, problem.model.inputs());
        return {first, second};
    }
    if (random.chance(50)) job.input_grad = dense(out.input_grad.data(), problem.N, problem.model.inputs());
    if (random.chance(70) || job.input_grad.empty()) job.grad = {out.grad.data()};
    if (task == Task::gradient) {
        if (random.chance(50)) job.kept = out.kept;
        if (random.chance(50)) job.example_loss = out.example_loss.data();
    }
    if (task == Task::example_norms) {
        job.example_grad_norm = out.example_norm.data();
        job.max_example_norm = random.chance(50) ? 0.1 : 0;
    }
    if (task == Task::jvp || task == Task::hvp) {
        job.along = task == Task::jvp ? Along::forward : Along::gradient;
        if (random.chance(60)) job.x_dot = source_of(problem.X_dot, problem.model.inputs(), type_of<Real>);
        if (random.chance(60) || job.x_dot.empty()) job.params_dot = problem.params_dot.data();
        if (task == Task::jvp) job.input_grad = {}, job.grad = {}, job.seed = Seed::none;
        if (task == Task::jvp) job.output_dot = dense(out.output_dot.data(), problem.N, problem.model.outputs());
        if (task == Task::hvp && random.chance(40)) {
            job.seed = Seed::cotangent;
            job.weights = {};
            job.has_masks = false;
            job.cotangent = source_of(problem.cotangent, problem.model.outputs(), type_of<Real>);
        }
    }
    if (task == Task::gauss_newton) {
        job.along = Along::gauss_newton;
        job.params_dot = problem.params_dot.data();
    }
    return {job};
}

// The jobs, and the same again with other parameters, without a pause in between.
template <class Real>
void carry_out_jobs(Backend<Real>& on, const Member& member, Problem<Real>& problem, Crew<Real>& crew,
                    std::vector<Job<Real>> jobs, Results<Real>& out) {
    for (const Real* params : {problem.params.data(), problem.other_params.data()})
        for (Job<Real>& job : jobs) {
            job.params = {params};
            prepare(on, member, crew, job);
            const bool done = carry_out(on, member, problem.plan, crew, job);
            if (member.first()) out.losses.push_back(done ? total_loss(on, problem.plan, crew) : -1);
            if (!problem.plan.shares_operations()) member.meet();  // the losses of all groups are read
        }
}

// How a task trains.
template <class Real>
struct Training {
    Epoch<Real> epoch;
    std::vector<Vector<Real>> moments;
    std::vector<double> values, lr;
    // The caller's hook, which the first member calls. It fails at its last call.
    struct Hook {
        AccessLog& log;
        const SerialTeam& team;
        Index calls_left = 0;
    } hook;

    Training(Problem<Real>& problem, Results<Real>& out, AccessLog& log, const SerialTeam& team)
        : values(8, 0), hook{log, team} {
        Random& random = problem.random;
        StepRule& rule = epoch.rule;
        rule.kind = Optimizer(random.below(6));
        if (random.chance(40)) rule.momentum = 0.9;
        rule.nesterov = rule.momentum != 0 && random.chance(50);
        rule.centered = random.chance(50);
        if (random.chance(30)) rule.weight_decay = 0.01;
        for (int k = 0; k < moment_count(rule); ++k)
            moments.push_back({out.moments[k].data(), Index(out.moments[k].size())});
        epoch.moments = moments;
        if (random.chance(40)) epoch.max_grad_norm = random.one_of({0.01, 1e3});
        if (random.chance(30)) epoch.values = values.data();
        if (random.chance(25)) {
            epoch.grad_hook = &halve;
            epoch.hook_context = &hook;
            hook.calls_left = random.chance(50) ? 1000 : 1 + random.below(6);
        }
        epoch.penalties_by_weight = random.chance(30);
        epoch.seed = 7;
        // With a large rate a gradient is not certainly finite, and soon it is not finite.
        lr.assign(8, random.chance(20) ? 1e25 : 0.01);
        for (LayerShape& layer : problem.model.layers)
            if (&layer != &problem.model.layers.back() && random.chance(40)) layer.dropout = 0.5;
    }

    static int halve(void* context, std::int32_t, void* grad, std::int64_t count) {
        Hook& hook = *static_cast<Hook*>(context);
        hook.log.begin("hook", 0, hook.team.interval());
        hook.log.note(AccessLog::Kind::write, Vector<Real>{static_cast<Real*>(grad), count});
        for (Index k = 0; k < count; ++k) static_cast<Real*>(grad)[k] /= 2;
        return --hook.calls_left == 0 ? 1 : 0;
    }
};

template <class Real>
void run_steps(Backend<Real>& on, const Member& member, Problem<Real>& problem, Crew<Real>& crew,
               const Training<Real>& training, Results<Real>& out) {
    const Job<Real> data = problem.with_loss();
    Steps<Real> steps(on, member, problem.model, crew, out.params.data(), data, training.epoch);
    const Index half = (problem.N + 1) / 2;
    for (Index k = 0; k < 3; ++k) {
        const Index begin = k == 1 ? half : 0, end = k == 0 ? half : problem.N;
        if (begin == end) continue;
        Plan plan = problem.plan;
        plan.rows = end - begin;
        const RowRange batch = data.rows.block(begin, end);
        const double weight = std::max(weight_of(on, data.weights, batch), 1.0);
        steps.begin(batch, batch, weight, training.lr[std::size_t(k)], k + 1);
        const auto step = steps.take(plan);
        if (member.first()) {
            out.losses.push_back(step ? step->loss : -1);
            out.losses.push_back(step ? step->penalty : -1);
        }
        if (!step) return;
    }
}

// `removed`: the barrier that members pass without waiting.
template <class Real>
Outcome watched_run(std::uint64_t seed, Sizes sizes, Task task, int members, Order order,
                    int removed = SerialTeam::no_barrier) {
    Problem<Real> problem(seed, sizes);
    Outcome outcome;
    AccessLog before;
    Results<Real> out(problem);
    const auto jobs = jobs_of(problem, task, out);
    SerialTeam team(members, order, removed);
    const Training<Real> training(problem, out, outcome.log, team);
    const auto cpu = make_backend<Real>("cpu");
    WatchedBackend<Real> memory(*cpu, before, team, 0);
    const bool tangents = task == Task::jvp || task == Task::hvp || task == Task::gauss_newton;
    Crew<Real> crew(memory, problem.model, problem.plan,
                    {members, 1, tangents, tangents, problem.kind == Rows::compressed ? problem.kept_per_row : 0});
    crew.start();
    const SharedSums<Real> sums = crew.shared_sums(problem.plan);
    // No member may read these: they are in the half that the new phase writes. One suits sums and bounds, the other
    // places.
    const double wrong = seed % 2 == 0 ? std::numeric_limits<double>::infinity() : 1e15;
    team.at_each_phase([&](unsigned phase) {
        for (int k = 0; k < problem.plan.parts; ++k) std::fill_n(sums.numbers(phase, k), 2, wrong);
    });
    team.run([&](const Member& member) {
        WatchedBackend<Real> on(*cpu, outcome.log, team, member.index);
        if (task == Task::steps)
            run_steps<Real>(on, member, problem, crew, training, out);
        else
            carry_out_jobs<Real>(on, member, problem, crew, jobs, out);
    });
    out.losses.push_back(double(crew.stopped()));
    outcome.results = out.bytes();
    outcome.barriers = team.interval() - 1;  // the last interval ends when all have returned
    outcome.diverged = team.diverged();
    return outcome;
}

}  // namespace fastbp::test
