#include "training/epoch_data.hpp"

#include <algorithm>

#include "execution/weights.hpp"

namespace fastbp {

Index steps_of_epoch(Index rows, Index batch_size, bool drop_last) {
    return drop_last ? rows / batch_size : (rows + batch_size - 1) / batch_size;
}

template <class Real>
EpochData<Real>::EpochData(Backend<Real>& on, TeamScratch<Real>& scratch, const Job<Real>& job,
                           const Epoch<Real>& epoch)
    : job_(job),
      batch_size_(epoch.batch_size),
      count_(steps_of_epoch(job.rows.host_range.count, epoch.batch_size, epoch.drop_last)),
      is_recorded_(on.traits().asynchronous),
      order_(job.rows.host_range.order),
      scratch_(scratch),
      weights_(scratch.host_memory()),
      host_entries_(std::size_t(count_), scratch.host_memory()) {
    if (on.traits().distant) copy_to_device(on);
    sum_weights(on);
    scratch.start_ledger(on, count_);
    if (count_ > 0) on.upload(host_entries_.data(), scratch.ledger_entries(), host_entries_.size() * sizeof(LossEntry));
}

template <class Real>
void EpochData<Real>::copy_to_device(Backend<Real>& on) {
    const auto copy = [&]<class To>(RowSource& rows, To) {
        copies_.push_back(DeviceCopy<Real>::template copy_of<To>(on, rows));
        rows = copies_.back().rows();
    };
    copy(job_.rows.x, Real());
    job_.rows.x_view = {};
    if (auto* loss = std::get_if<LossSeed>(&job_.seed))
        loss->y_is_classes ? copy(loss->y, std::int32_t()) : copy(loss->y, Real());
    if (job_.by_function())  // the process multiplies by the weights
        job_.rows.weights = host_weights_.emplace(on, job_.rows.weights).rows();
    else
        copy(job_.rows.weights, double());
    if (order_ == nullptr) return;
    const auto bytes = std::size_t(job_.rows.host_range.count) * sizeof(Index);
    order_copy_.emplace(on, bytes);
    on.upload(order_, order_copy_->memory(), bytes);
    order_ = static_cast<const Index*>(order_copy_->memory());
}

template <class Real>
void EpochData<Real>::sum_weights(Backend<Real>& on) {
    const RowRange host = job_.rows.host_range;
    const Index* order = job_.rows.weights.on_device ? order_ : host.order;
    weights_.reserve(std::size_t(count_));
    for (Index k = 0; k < count_; ++k) weights_.push_back(double(host_range(k).count));
    if (job_.rows.weights.empty()) return;
    const RowRange rows{order, host.first, std::min(host.count, count_ * batch_size_)};
    if (batch_size_ <= weights_at_a_time) {
        on.sum_weights(job_.rows.weights, rows, batch_size_, weights_.data());
    } else {
        for (Index k = 0; k < count_; ++k) {
            const Index end = std::min(rows.count, (k + 1) * batch_size_);
            weights_[std::size_t(k)] = weight_of(on, job_.rows.weights, rows.block(k * batch_size_, end));
        }
    }
}

template <class Real>
Ledger EpochData<Real>::read_ledger(Backend<Real>& on, Index begin, Index end) {
    Ledger ledger;
    on.download(scratch_.ledger(), &ledger, sizeof ledger);
    if (end > begin)
        on.download(ledger.entries + begin, host_entries_.data() + begin, std::size_t(end - begin) * sizeof(LossEntry));
    return ledger;
}

template class EpochData<float>;
template class EpochData<double>;

}  // namespace fastbp
