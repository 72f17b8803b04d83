// What an epoch works on: its mini-batches, and their rows and losses in the backend's memory.
#pragma once

#include <optional>
#include <vector>

#include "execution/device_copy.hpp"
#include "training/epoch.hpp"

namespace fastbp {

template <class Real>
class EpochData {
  public:
    // If the process cannot read the backend's memory, X, y, the weights and the row order are copied there.
    EpochData(Backend<Real>& on, TeamScratch<Real>& scratch, const Job<Real>& job, const Epoch<Real>& epoch);

    Index count() const { return count_; }
    Index batch_size() const { return batch_size_; }
    // The sum of the weights of mini-batch k.
    double weight(Index k) const { return weights_[std::size_t(k)]; }
    // The rows of mini-batch k as the process reads them.
    RowRange host_range(Index k) const {
        const RowRange& all = job_.rows.host_range;
        return all.block(k * batch_size_, std::min(all.count, (k + 1) * batch_size_));
    }
    // The same rows as operations read them. `first`: a slot with the first row, for steps that are recorded.
    RowRange range(Index k, const Index* first) const {
        const RowRange host = host_range(k);
        return is_recorded_ ? RowRange{order_, 0, host.count, first} : host;
    }
    // The job over data that operations can read.
    const Job<Real>& job() const { return job_; }

    Ledger* ledger() const { return scratch_.ledger(); }
    // Downloads the ledger, and the entries of mini-batches [begin, end) into host_entries.
    Ledger read_ledger(Backend<Real>& on, Index begin, Index end);
    const LossEntry& entry(Index k) const { return host_entries_[std::size_t(k)]; }

  private:
    void copy_to_device(Backend<Real>& on);
    void sum_weights(Backend<Real>& on);

    Job<Real> job_;
    const Index batch_size_, count_;
    const bool is_recorded_;
    const Index* order_ = nullptr;
    std::vector<DeviceCopy<Real>> copies_;
    std::optional<HostRows<Real>> host_weights_;
    std::optional<Block<Real>> order_copy_;
    TeamScratch<Real>& scratch_;
    std::pmr::vector<double> weights_;
    std::pmr::vector<LossEntry> host_entries_;
};

}  // namespace fastbp
