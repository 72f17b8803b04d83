#include "execution/runner.hpp"

#include <array>

#include "execution/partials.hpp"
#include "execution/threads.hpp"

namespace fastbp {
namespace {

// Waking the pool costs 30 to 60 us, more than a second thread saves in a shorter job.
constexpr double worth_waking = 100e-6;

// A loss function is the caller's code, so only one thread calls it.
template <class Real>
int threads_for(const Job<Real>& job) {
    return job.by_function() ? 1 : num_threads();
}

template <class Real>
int team_for(const Plan& plan, const Job<Real>& job) {
    const int threads = forced_team() > 0 && !job.by_function() ? forced_team() : threads_for(job);
    return plan.traits.shares_operations ? 1 : std::min(plan.parts, threads);
}

template <class Real>
ScratchSpec spec_of(const Job<Real>& job, int members, int extra_gradients) {
    const bool tangents = job.direction.has_value();
    return {members, extra_gradients, tangents, tangents && !job.direction->x_dot.empty(), job.rows.kept_per_row};
}

}  // namespace

void throw_if(Stop stopped) {
    switch (stopped) {
        case Stop::none: return;
        case Stop::interrupted: throw Error(ErrorKind::interrupted, "interrupted");
        case Stop::callback_failed: throw Error(ErrorKind::interrupted, "a callback failed");
        case Stop::not_finite: throw Error(ErrorKind::floating_point, "the loss is not finite");
        case Stop::gradient_refused: throw Error(ErrorKind::floating_point, "the gradient is not finite");
    }
}

template <class Real>
Runner<Real>::Runner(const Model& model, std::unique_ptr<Backend<Real>> backend, ExternalPool threads)
    : model_(model), backend_(std::move(backend)), traits_(backend_->traits()), external_pool_(threads) {}

template <class Real>
Plan Runner<Real>::plan_for(const Job<Real>& job, Index rows) const {
    PlanRequest request{rows, sizeof(Real), threads_for(job), job.work(), 0};
    const RowSource& x = job.rows.x;
    if (x.compressed()) request.kept_per_row = x.start(x.rows) / std::max<Index>(x.rows, 1) + 1;
    Plan plan = traits_.shares_operations ? make_device_plan(model_, request) : make_plan(model_, request);
    plan.traits = traits_;
    return plan;
}

template <class Real>
LossEntry Runner<Real>::run(const Job<Real>& job) const {
    if (traits_.distant && job.rows.range.order != nullptr)
        throw Error(ErrorKind::value, "an order of rows is for training if the net is on a device");
    const Plan plan = plan_for(job, job.rows.range.count);
    // A loss function may fail half-way. The gradient is then computed beside the caller's, which stays as it was.
    const bool is_risky = job.by_function() && job.outputs.grad.wanted();
    Team team(*this, plan, job, is_risky ? 1 : 0);
    TeamScratch<Real>& scratch = team.scratch();
    std::optional<Job<Real>> own;
    if (is_risky) {
        own = job;
        own->outputs.grad = {scratch.gradient(plan.partial_gradients()).data};
        own->outputs.accumulate = false;
    }
    const Job<Real>& run = own ? *own : job;
    team.run(team.next(1), [&](const Member& member) {
        prepare(*backend_, member, scratch, run);
        static_cast<void>(run_job(*backend_, member, plan, scratch, run));
    });
    throw_if(scratch.stopped());
    if (is_risky) {
        Barrier barrier(1);
        add_partials<Real>(*backend_, {0, barrier}, model_, scratch.partials(plan.partial_gradients(), 1),
                           job.outputs.accumulate, job.outputs.grad);
    }
    if (!job.outputs.loss) return {};
    LossEntry entry;
    const Index* first = &scratch.member(0).device_slots().entry;
    backend_->note_loss(scratch.loss_parts(plan), first, scratch.ledger(), nullptr);
    backend_->download(scratch.ledger_entries(), &entry, sizeof entry);
    if (!job.penalties.any()) entry.penalty = 0;
    return entry;
}

template <class Real>
Runner<Real>::Team::Team(const Runner& runner, const Plan& plan, const Job<Real>& job, int extra_gradients)
    : runner_(runner),
      plan_(plan),
      kind_(job.work()),
      size_(team_for(plan, job)),
      scratch_(runner.free_.borrow(*runner.backend_, runner.model_, plan, spec_of(job, size_, extra_gradients))) {
    (*scratch_).start();
}

template <class Real>
Slice Runner<Real>::Team::next(Index left) {
    is_timed_ = is_tuned_ = false;
    if (plan_.traits.asynchronous) return {1, left};  // no step waits for the one before
    if (size_ == 1 && left == 1) return {1, 1};
    is_timed_ = true;
    TeamSizeTuner& tuner = scratch().tuner(kind_);
    if (size_ == 1) return {1, tuner.steps(left)};
    if (forced_team() > 0) return {size_, tuner.steps(left)};
    const bool is_short = plan_.seconds_alone * double(left) < worth_waking;
    if (is_short && !runner_.external_pool_ && ThreadPool::get().sleeps()) return {1, tuner.steps(left)};
    is_tuned_ = true;
    return tuner.next(size_, left, seconds_now());
}

template <class Real>
void Runner<Real>::Team::run_work(const Slice& slice, const TeamWork& work) {
    const double begin = is_timed_ ? seconds_now() : 0;
    const TeamReport report = slice.team > 1 && runner_.external_pool_ ? runner_.external_pool_.run(slice.team, work)
                                                                       : ThreadPool::get().run(slice.team, work);
    if (!is_timed_) return;
    const double end = seconds_now();
    TeamSizeTuner& tuner = scratch().tuner(kind_);
    tuner.took(slice, end - begin);
    if (is_tuned_) tuner.finished(slice, report.members, report.late_seconds, begin, end);
}

template class Runner<float>;
template class Runner<double>;

}  // namespace fastbp
