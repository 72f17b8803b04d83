// One problem carried out by a team whose members run one at a time over backends that are watched: the results, the
// log of all accesses and the number of barriers.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "backend/make_backend.hpp"
#include "random_problem.hpp"
#include "training/step_runner.hpp"
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
    Outputs<Real>& to = job.outputs;
    to.accumulate = random.chance(30);
    to.loss = true;
    job.penalties = {problem.model.l2, problem.model.l1};
    if (task == Task::forward) {
        job = problem.rows();
        if (random.chance(50)) job = problem.with_loss();  // its value
        to.loss = job.by_loss();
        to.kept = out.kept;
        for (LayerValues<Real>& values : out.kept) values.delta = {};
        return {job};
    }
    const CotangentSeed cotangent{source_of(problem.cotangent, problem.model.outputs(), type_of<Real>)};
    if (task == Task::pullback) {
        Job<Real> first = problem.rows();
        first.rows.weights = {};
        first.rows.has_masks = false;
        first.outputs.kept = out.kept;
        Job<Real> second = first;
        second.seed = cotangent;
        second.outputs.forward_done = true;
        second.outputs.grad = {out.grad.data()};
        second.outputs.input_grad = dense(out.input_grad.data(), problem.N, problem.model.inputs());
        return {first, second};
    }
    if (random.chance(50)) to.input_grad = dense(out.input_grad.data(), problem.N, problem.model.inputs());
    if (random.chance(70) || to.input_grad.empty()) to.grad = {out.grad.data()};
    if (task == Task::gradient) {
        if (random.chance(50)) to.kept = out.kept;
        if (random.chance(50)) to.example_loss = out.example_loss.data();
    }
    if (task == Task::example_norms) {
        to.example_grad_norm = out.example_norm.data();
        job.max_example_norm = random.chance(50) ? 0.1 : 0;
    }
    if (task == Task::jvp || task == Task::hvp) {
        Direction<Real>& direction = job.direction.emplace();
        direction.mode = task == Task::jvp ? TangentMode::forward : TangentMode::gradient;
        if (random.chance(60)) direction.x_dot = source_of(problem.X_dot, problem.model.inputs(), type_of<Real>);
        if (random.chance(60) || direction.x_dot.empty()) direction.params_dot = problem.params_dot.data();
        if (task == Task::jvp) {
            to = {};
            job.seed = NoSeed{};
            direction.output_dot = dense(out.output_dot.data(), problem.N, problem.model.outputs());
        }
        if (task == Task::hvp && random.chance(40)) {
            job.seed = cotangent;
            to.loss = false;
            job.rows.weights = {};
            job.rows.has_masks = false;
        }
    }
    if (task == Task::gauss_newton)
        job.direction = Direction<Real>{TangentMode::gauss_newton, problem.params_dot.data(), {}, {}};
    return {job};
}

// The jobs, and the same again with other parameters, without a pause in between.
template <class Real>
void run_jobs(Backend<Real>& on, const Member& member, Problem<Real>& problem, TeamScratch<Real>& scratch,
              std::vector<Job<Real>> jobs, Results<Real>& out) {
    for (const Real* params : {problem.params.data(), problem.other_params.data()})
        for (Job<Real>& job : jobs) {
            job.params = {params};
            prepare(on, member, scratch, job);
            const bool done = run_job(on, member, problem.plan, scratch, job);
            if (member.first() && done) {
                const Index* entry = &scratch.member(0).device_slots().entry;
                on.note_loss(scratch.loss_parts(problem.plan), entry, scratch.ledger(), nullptr);
                out.losses.push_back(scratch.ledger_entries()->loss);
                if (job.outputs.loss) out.losses.push_back(scratch.ledger_entries()->penalty);
            }
            if (!problem.plan.shares_operations()) member.barrier_wait();  // the losses of all groups are read
        }
}

// How a task trains.
template <class Real>
struct Training {
    Epoch<Real> epoch;
    std::vector<Vector<Real>> moments;
    std::vector<double> lr;
    bool keeps_values = false;
    // The caller's hook, which the first member calls. It fails at its last call.
    struct Hook {
        AccessLog& log;
        const SerialTeam& team;
        Index calls_left = 0;
    } hook;

    Training(Problem<Real>& problem, Results<Real>& out, AccessLog& log, const SerialTeam& team) : hook{log, team} {
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
        keeps_values = random.chance(30);
        if (random.chance(25)) {
            epoch.grad_hook = &halve;
            epoch.hook_context = &hook;
            hook.calls_left = random.chance(50) ? 1000 : 1 + random.below(6);
        }
        epoch.penalties_by_weight = random.chance(30);
        epoch.dropout_seed = 7;
        epoch.batch_size = (problem.N + 1) / 2;
        // With a large rate a gradient is not certainly finite, and soon it is not finite.
        lr.assign(2, random.chance(20) ? 1e25 : 0.01);
        epoch.lr = lr.data();
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

// Two epochs of two mini-batches.
template <class Real>
void run_steps(Backend<Real>& on, const Member& member, Problem<Real>& problem, TeamScratch<Real>& scratch,
               const EpochData<Real>& data, const Training<Real>& training, Results<Real>& out) {
    Plan plan = problem.plan;
    plan.rows = training.epoch.batch_size;
    StepRunner<Real> steps(on, problem.model, scratch, member.index, data, plan, training.epoch, out.params.data(),
                           training.keeps_values);
    for (int epoch = 0; epoch < 2; ++epoch) {
        const Index reached = steps.run(member, 0, data.count(), epoch * data.count());
        if (member.first()) out.losses.push_back(double(reached));
        if (reached < data.count()) return;
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
    TeamScratch<Real> scratch(
        memory, problem.model, problem.plan,
        {members, 1, tangents, tangents, problem.kind == Rows::compressed ? problem.kept_per_row : 0});
    scratch.start();
    EpochData<Real> data(memory, scratch, problem.with_loss(), training.epoch);
    const SharedSums<Real> sums = scratch.shared_sums(problem.plan);
    // No member may read these: they are in the half that the new phase writes. One suits sums and bounds, the other
    // places.
    const double wrong = seed % 2 == 0 ? std::numeric_limits<double>::infinity() : 1e15;
    team.at_each_phase([&](unsigned phase) {
        for (int k = 0; k < problem.plan.parts; ++k) std::fill_n(sums.numbers(phase, k), 2, wrong);
    });
    team.run([&](const Member& member) {
        WatchedBackend<Real> on(*cpu, outcome.log, team, member.index);
        if (task == Task::steps)
            run_steps<Real>(on, member, problem, scratch, data, training, out);
        else
            run_jobs<Real>(on, member, problem, scratch, jobs, out);
    });
    if (task == Task::steps) data.read_ledger(memory, 0, data.count());
    for (Index k = 0; task == Task::steps && k < data.count(); ++k)
        for (const double number : {data.entry(k).loss, data.entry(k).penalty}) out.losses.push_back(number);
    out.losses.push_back(double(scratch.stopped()));
    outcome.results = out.bytes();
    outcome.barriers = team.interval() - 1;  // the last interval ends when all have returned
    outcome.diverged = team.diverged();
    return outcome;
}

}  // namespace fastbp::test
