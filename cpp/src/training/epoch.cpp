#include "training/epoch.hpp"

#include <deque>
#include <memory_resource>

#include "training/step_runner.hpp"

namespace fastbp {
namespace {

// Adds mini-batches [report.steps_done, end) to the report, up to the first that was refused.
template <class Real>
EpochEnd account(const Runner<Real>& runner, EpochData<Real>& data, Index end, const EpochReport& report) {
    const Index begin = report.steps_done;
    const Ledger ledger = data.read_ledger(runner.backend(), begin, end);
    const bool is_refused = ledger.refused_entry >= 0;
    for (Index k = begin; k < (is_refused ? std::min(end, ledger.refused_entry) : end); ++k) {
        const LossEntry& entry = data.entry(k);
        const double weight = data.weight(k);
        report.loss_sum += entry.loss * weight;
        report.weight_sum += weight;
        if (report.values != nullptr) report.values[k] = entry.loss + entry.penalty;
        report.step += weight != 0 ? 1 : 0;
        report.steps_done = k + 1;
    }
    if (!is_refused) return {};
    if (ledger.refused_place < 0) return {Stop::not_finite, {}};
    return {Stop::gradient_refused, {ledger.refused_place, ledger.refused_number}};
}

}  // namespace

template <class Real>
EpochEnd run_epoch(const Runner<Real>& runner, Real* params, const Job<Real>& given, const Epoch<Real>& epoch,
                   const EpochReport& report) {
    Job<Real> job = given;
    job.step.emplace();
    job.outputs.grad = {params};  // so that it counts as a job with a backward pass
    const Plan plan = runner.plan_for(job, epoch.batch_size);
    typename Runner<Real>::Team team(runner, plan, job, 1);
    EpochData<Real> data(runner.backend(), team.scratch(), job, epoch);
    if (data.count() == 0) return {};
    std::pmr::deque<StepRunner<Real>> members(team.scratch().host_memory());
    for (int m = 0; m < team.largest(); ++m)
        members.emplace_back(runner.backend(), runner.model(), team.scratch(), m, data, plan, epoch, params,
                             report.values != nullptr);
    while (report.steps_done < data.count()) {
        const Index begin = report.steps_done, step = report.step;
        const Slice slice = team.next(data.count() - begin);
        Index end = begin;
        team.run(slice, [&](const Member& member) {
            const Index reached = members[std::size_t(member.index)].run(member, begin, begin + slice.steps, step);
            if (member.first()) end = reached;
        });
        const EpochEnd refused = account(runner, data, end, report);
        if (refused.stopped != Stop::none) return refused;
        if (const Stop stopped = team.scratch().stopped(); stopped != Stop::none)
            return {stopped, team.scratch().refused()};
    }
    return {};
}

template EpochEnd run_epoch(const Runner<float>&, float*, const Job<float>&, const Epoch<float>&, const EpochReport&);
template EpochEnd run_epoch(const Runner<double>&, double*, const Job<double>&, const Epoch<double>&,
                            const EpochReport&);

}  // namespace fastbp
