#include "execution/device_copy.hpp"

#include <algorithm>

#include "seam/load_rows.hpp"

namespace fastbp {
namespace {

constexpr Index converted_at_a_time = Index(1) << 18;  // numbers

template <class To>
constexpr NumberType type_of = std::is_same_v<To, float>    ? NumberType::float32
                               : std::is_same_v<To, double> ? NumberType::float64
                                                            : NumberType::int32;

bool lies_plainly(const RowSource& rows) {
    const Index size = bytes_of(rows.type);
    return !rows.byte_swapped && rows.type != NumberType::long_double && rows.col_stride == size &&
           (rows.rows <= 1 || rows.row_stride == rows.cols * size);
}

// The kept numbers of compressed rows, as one row.
RowSource kept_numbers(const RowSource& rows) {
    RowSource kept = rows;
    kept.columns = kept.starts = nullptr;
    kept.rows = 1;
    kept.cols = rows.start(rows.rows);
    kept.row_stride = kept.cols * kept.col_stride;
    return kept;
}

}  // namespace

template <class Real>
void* DeviceCopy<Real>::take(Backend<Real>& on, const void* from, std::size_t bytes) {
    blocks_.push_back(std::make_unique<Block<Real>>(on, bytes));
    if (bytes > 0) on.upload(from, blocks_.back()->memory(), bytes);
    return blocks_.back()->memory();
}

template <class Real>
template <class To>
void DeviceCopy<Real>::take_converted(Backend<Real>& on, const RowSource& from) {
    const Index cols = std::max<Index>(from.cols, 1);
    blocks_.push_back(std::make_unique<Block<Real>>(on, std::size_t(from.rows * cols) * sizeof(To)));
    To* to = static_cast<To*>(blocks_.back()->memory());
    // A row may be longer than what is converted at a time, where it holds all kept numbers.
    const Index rows_at_once = std::max<Index>(converted_at_a_time / cols, 1);
    std::vector<To> part(std::size_t(std::min(rows_at_once, std::max<Index>(from.rows, 1)) * cols));
    for (Index i = 0; i < from.rows; i += rows_at_once) {
        const Index n = std::min(rows_at_once, from.rows - i);
        load_rows(from, {nullptr, i, n}, dense(part.data(), n, from.cols));
        on.upload(part.data(), to + i * from.cols, std::size_t(n * from.cols) * sizeof(To));
    }
    rows_.data = reinterpret_cast<const std::byte*>(to);
    rows_.type = type_of<To>;
    rows_.byte_swapped = false;
    rows_.col_stride = sizeof(To);
    rows_.row_stride = from.cols * Index(sizeof(To));
}

template <class Real>
template <class To>
void DeviceCopy<Real>::take_numbers(Backend<Real>& on, const RowSource& from) {
    if (!lies_plainly(from)) return take_converted<To>(on, from);
    const auto bytes = std::size_t(from.rows * from.cols * bytes_of(from.type));
    rows_.data = static_cast<const std::byte*>(take(on, from.data, bytes));
}

template <class Real>
template <class To>
DeviceCopy<Real> DeviceCopy<Real>::copy_of(Backend<Real>& on, const RowSource& rows) {
    DeviceCopy made;
    made.rows_ = rows;
    if (rows.empty() || rows.on_device) return made;
    if (!rows.compressed()) {
        made.template take_numbers<To>(on, rows);
    } else {
        const Index kept = rows.start(rows.rows), row_stride = rows.row_stride;
        made.template take_numbers<To>(on, kept_numbers(rows));
        made.rows_.row_stride = row_stride;
        const auto size = std::size_t(bytes_of(rows.index_type));
        made.rows_.columns = static_cast<const std::byte*>(made.take(on, rows.columns, std::size_t(kept) * size));
        made.rows_.starts =
            static_cast<const std::byte*>(made.take(on, rows.starts, std::size_t(rows.rows + 1) * size));
    }
    made.rows_.on_device = true;
    return made;
}

template <class Real>
HostRows<Real>::HostRows(Backend<Real>& on, const RowSource& rows) : rows_(rows) {
    if (!rows.on_device || rows.empty() || rows.rows == 0 || rows.cols == 0) return;
    const Index last = (rows.rows - 1) * rows.row_stride + (rows.cols - 1) * rows.col_stride;
    copy_.resize(std::size_t(last + bytes_of(rows.type)));
    on.download(rows.data, copy_.data(), copy_.size());
    rows_.data = copy_.data();
    rows_.on_device = false;
}

template class DeviceCopy<float>;
template class DeviceCopy<double>;
template DeviceCopy<float> DeviceCopy<float>::copy_of<float>(Backend<float>&, const RowSource&);
template DeviceCopy<float> DeviceCopy<float>::copy_of<double>(Backend<float>&, const RowSource&);
template DeviceCopy<float> DeviceCopy<float>::copy_of<std::int32_t>(Backend<float>&, const RowSource&);
template DeviceCopy<double> DeviceCopy<double>::copy_of<double>(Backend<double>&, const RowSource&);
template DeviceCopy<double> DeviceCopy<double>::copy_of<std::int32_t>(Backend<double>&, const RowSource&);
template class HostRows<float>;
template class HostRows<double>;

}  // namespace fastbp
