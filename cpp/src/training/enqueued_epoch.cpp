#include "training/enqueued_epoch.hpp"

#include <vector>

#include "training/steps.hpp"

namespace fastbp {
namespace {

// A step as the backend records it: the operations of a mini-batch of one size.
template <class Real>
class RecordedStep final : public Step {
  public:
    RecordedStep(Backend<Real>& on, Steps<Real>& steps, const Plan& plan) : on_(on), steps_(steps), plan_(plan) {}
    ~RecordedStep() { on_.forget(*this); }
    RecordedStep(const RecordedStep&) = delete;
    void run() noexcept override { static_cast<void>(steps_.take(plan_)); }

  private:
    Backend<Real>& on_;
    Steps<Real>& steps_;
    const Plan plan_;
};

// What the ledger cannot know of a mini-batch.
struct Entry {
    double weight, penalty;
};

// The account of the mini-batches whose losses the ledger has; one without weight made no step and has no loss.
template <class Real>
Ledger settle(Backend<Real>& on, const std::vector<Entry>& entries, Epoch<Real>& epoch) {
    Ledger ledger;
    on.download(epoch.ledger, &ledger, sizeof ledger);
    std::vector<double> losses(std::size_t(ledger.count));
    on.download(ledger.losses, losses.data(), losses.size() * sizeof(double));
    auto next = losses.begin();
    for (std::size_t k = 0; k < entries.size(); ++k) {
        const bool has_step = entries[k].weight != 0;
        if (has_step && next == losses.end()) break;
        const double loss = has_step ? *next++ : 0;
        epoch.loss_sum += loss * entries[k].weight;
        epoch.weight_sum += entries[k].weight;
        if (epoch.values != nullptr) epoch.values[k] = loss + entries[k].penalty;
        epoch.step += has_step ? 1 : 0;
        *epoch.steps_done = Index(k) + 1;
    }
    return ledger;
}

}  // namespace

template <class Real>
void run_enqueued_epoch(Backend<Real>& on, const Model& model, Crew<Real>& crew, Real* params, const Job<Real>& data,
                        const Index* order_on_device, std::span<const double> batch_weights, Epoch<Real>& epoch) {
    Barrier nobody(1);
    const Member alone{0, nobody};
    Steps<Real> steps(on, alone, model, crew, params, data, epoch);
    const Index rows = data.host_rows.count, count = steps_of_epoch(rows, epoch.batch_size, epoch.drop_last);
    Plan last = epoch.plan;
    last.rows = rows % epoch.batch_size;
    RecordedStep<Real> whole_step(on, steps, epoch.plan), last_step(on, steps, last);
    std::vector<Entry> entries;
    entries.reserve(std::size_t(count));
    Index step = epoch.step;
    for (Index k = 0; k < count && crew.stopped() == Stop::none; ++k) {
        if (data.poll != nullptr && data.poll->wants_stop()) crew.stop(Stop::interrupted);
        if (crew.stopped() != Stop::none) break;
        const Index begin = k * epoch.batch_size, end = std::min(rows, begin + epoch.batch_size);
        const RowRange host_rows = data.host_rows.block(begin, end);
        const double weight = batch_weights[std::size_t(k)];
        double penalty = 0;
        if (weight != 0) {
            const RowRange batch{order_on_device, 0, end - begin, &crew.workspace(0).live().first_row};
            steps.begin(batch, host_rows, weight, epoch.lr[k], ++step);
            RecordedStep<Real>& recorded = end - begin == epoch.batch_size ? whole_step : last_step;
            if (epoch.steps_are_alike(data))
                on.replay(recorded);
            else if (const auto taken = steps.take(end - begin == epoch.batch_size ? epoch.plan : last))
                penalty = taken->penalty;
            if (crew.stopped() != Stop::none) break;  // a callback's: this step was not made
        }
        entries.push_back({weight, penalty});
    }
    const Ledger ledger = settle(on, entries, epoch);
    if (ledger.stopped == 0) return;
    if (ledger.refused_place >= 0)
        crew.refuse({ledger.refused_place, ledger.refused_number});
    else
        crew.stop(Stop::not_finite);
}

template void run_enqueued_epoch(Backend<float>&, const Model&, Crew<float>&, float*, const Job<float>&, const Index*,
                                 std::span<const double>, Epoch<float>&);
template void run_enqueued_epoch(Backend<double>&, const Model&, Crew<double>&, double*, const Job<double>&,
                                 const Index*, std::span<const double>, Epoch<double>&);

}  // namespace fastbp
