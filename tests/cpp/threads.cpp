// What threads may do at once, for ThreadSanitizer: teams that share one pass, many callers of one net, one trainer
// each. Every result is compared bit for bit with the same work done alone.
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "backend/make_backend.hpp"
#include "example.hpp"
#include "execution/run_job.hpp"
#include "execution/team_size_tuner.hpp"
#include "model_of.hpp"

namespace fastbp::test {
namespace {

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

// One gradient by a team that shares a cooperative plan of several tiles, so that a late member would be caught.
std::vector<double> team_gradient(const Example& example, int team, Schedule schedule, double& loss) {
    const Model model = model_of(example);
    const auto on = make_backend<double>("cpu");
    const Plan plan{schedule, example.rows, 16, 4};
    TeamScratch<double> scratch(*on, model, plan, {team});
    std::vector<double> grad(std::size_t(model.parameter_count));
    const Job<double> job = gradient_job(example, model, grad.data());
    Barrier barrier(team);
    std::vector<std::thread> threads;
    for (int m = 0; m < team; ++m)
        threads.emplace_back([&, m] {
            const Member member{m, barrier};
            prepare(*on, member, scratch, job);
            expect(run_job(*on, member, plan, scratch, job), "a job runs to its end");
        });
    for (std::thread& thread : threads) thread.join();
    loss = total_loss(scratch, plan);
    return grad;
}

void teams() {
    const Example example(53);
    for (const Schedule schedule : {Schedule::cooperative, Schedule::rows}) {
        double loss1 = 0;
        const std::vector<double> alone = team_gradient(example, 1, schedule, loss1);
        for (int team : {2, 3, 4}) {
            double loss = 0;
            expect(team_gradient(example, team, schedule, loss) == alone && loss == loss1,
                   "a team gives the bits of one");
        }
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

// Mini-batches of 8 rows are too small for a team; of 1000 they are shared. In many steps the team also tries its first
// member alone now and then, and stays with what is faster.
void trainers(std::int64_t batch_size, std::int64_t steps) {
    const Example example(steps * batch_size);
    const Net<double> net = example.net();
    const auto train = [&] {
        std::vector<double> params = example.params, m(params.size()), v(params.size());
        std::vector<double> lr(std::size_t(steps), 1e-3);
        void* moments[] = {m.data(), v.data()};
        fastbp_data data = data_of(example.x(), example.classes());
        fastbp_epoch epoch = {};
        epoch.size = sizeof epoch;
        epoch.rule.size = sizeof epoch.rule;
        epoch.rule.kind = FASTBP_ADAM;
        epoch.rule.beta1 = 0.9;
        epoch.rule.beta2 = 0.999;
        epoch.rule.eps = 1e-8;
        epoch.moments = moments;
        epoch.batch_size = batch_size;
        epoch.lr = lr.data();
        require(fastbp_run_epoch(net.handle(), params.data(), &data, &epoch));
        params.push_back(epoch.loss_sum);
        return params;
    };
    const std::vector<double> expected = train();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&] { expect(train() == expected, "trainers do not disturb each other"); });
    for (std::thread& thread : threads) thread.join();
}

// The tuner alone, over simulated seconds: one thread takes 0.2 ms a step, a team 0.1 ms on idle processors, and 0.3 ms
// beside another program.
class SimulatedSteps {
  public:
    // Runs steps for so many seconds. Returns the fraction of the time that one thread ran alone. `late`: the fraction
    // of its time that a team waits for late members.
    double fraction_alone(double seconds, double team_step, double late) {
        double alone = 0;
        const double begin = now_;
        while (now_ < begin + seconds) {
            const Slice slice = tuner_.next(2, 1000, now_);
            const double time = double(slice.steps) * (slice.team == 1 ? 2e-4 : team_step);
            alone += slice.team == 1 ? time : 0;
            tuner_.took(slice, time);
            tuner_.finished(slice, slice.team, slice.team == 1 ? 0 : late * time, now_, now_ + time);
            now_ += time;
        }
        return alone / (now_ - begin);
    }
    void pause(double seconds) { now_ += seconds; }

  private:
    TeamSizeTuner tuner_;
    double now_ = 1e6;
};

void team_sizes() {
    SimulatedSteps steps;
    expect(steps.fraction_alone(2, 1e-4, 0) < 0.001, "a team that is faster tries one thread once");
    expect(steps.fraction_alone(0.1, 3e-4, 0.5) > 0.7, "late members are noticed within milliseconds");
    expect(steps.fraction_alone(5, 3e-4, 0.5) > 0.95, "a team that has become slower leaves the steps to one thread");
    steps.pause(0.01);
    expect(steps.fraction_alone(0.01, 3e-4, 0.5) > 0.999, "the next call begins with one thread");
    expect(SimulatedSteps().fraction_alone(0.01, 3e-4, 0.5) > 0.999, "and so does another net");
    expect(steps.fraction_alone(5, 1e-4, 0) < 0.2, "the team comes back when it is faster again");
    expect(steps.fraction_alone(5, 1e-4, 0) < 0.01, "for good");
    SimulatedSteps slow;
    expect(slow.fraction_alone(5, 3e-4, 0) > 0.9, "a slower team is noticed without late members");
}

// Callers of different shapes at the same time: one has the pool, the others work alone, and all are right.
void pool() {
    const Example small(40), large(4000);
    const auto repeat = [](const Example& example) {
        const Net<double> net = example.net();
        std::vector<double> first, grad(std::size_t(net.parameter_count()));
        for (int round = 0; round < 30; ++round) {
            net.value_and_grad(example.params.data(), example.x(), example.classes(), grad.data());
            if (round == 0) first = grad;
            expect(grad == first, "a gradient has the same bits whether the pool was free or busy");
        }
    };
    std::vector<std::thread> callers;
    for (int t = 0; t < 3; ++t) callers.emplace_back([&, t] { repeat(t == 0 ? small : large); });
    for (std::thread& caller : callers) caller.join();
}

// A pool of the caller's, which makes its threads anew for each job.
struct Lender {
    int width;  // 0: it forgets the job
    int jobs = 0;

    static void run(void* self, fastbp_take take, void* job) {
        Lender& lender = *static_cast<Lender*>(self);
        ++lender.jobs;
        std::vector<std::thread> threads;
        for (int k = 1; k < lender.width; ++k)
            threads.emplace_back([&lender, take, job, k] { take(job, k, lender.width); });
        if (lender.width > 0) take(job, 0, lender.width);
        for (std::thread& thread : threads) thread.join();
    }
};

// As many as the plan has parts, fewer, and more.
void lent_threads() {
    const Example example(1000);
    std::vector<double> expected(std::size_t(example.net().parameter_count())), grad(expected.size());
    const auto gradient_by = [&](Lender* lender, std::vector<double>& to) {
        fastbp_net_spec spec = example.spec();
        if (lender != nullptr) spec.pool = &Lender::run;
        spec.pool_context = lender;
        return Net<double>(spec).value_and_grad(example.params.data(), example.x(), example.classes(), to.data());
    };
    const double value = gradient_by(nullptr, expected);
    for (const int width : {1, 2, 4, 7}) {
        Lender lender{width};
        expect(gradient_by(&lender, grad) == value && grad == expected, "lent threads give the bits of the own pool");
        expect(lender.jobs == 1, "a job that is worth a team is given to the lender");
    }
    Lender forgetful{0};
    bool refused = false;
    try {
        gradient_by(&forgetful, grad);
    } catch (const StatusError& error) {
        refused = error.status() == FASTBP_RUNTIME_ERROR;
    }
    expect(refused, "a lender that forgets the job is told");
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::require(fastbp_set_num_threads(4));
    fastbp::test::lent_threads();  // before a tuner can have found a busy processor
    fastbp::test::teams();
    fastbp::test::pool();
    fastbp::test::callers_of_one_net();
    fastbp::test::team_sizes();
    fastbp::test::trainers(8, 12);
    fastbp::test::trainers(1000, 12);
    fastbp::test::trainers(1000, 200);
    std::puts("threads: ok");
    return 0;
}
