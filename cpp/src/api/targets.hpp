// y and the weights of a call, in whichever memory they lie: looked at there, and brought to the process only where
// something does not fit.
#pragma once

#include "api/checks.hpp"
#include "execution/device_copy.hpp"
#include "execution/weights.hpp"

namespace fastbp {

// Where some number does not fit: throws with the words for it, unless it does not count.
template <class Real>
void look_closer(Backend<Real>& on, const Model& model, const fastbp_data& data, WeightUse use) {
    const HostRows<Real> y(on, row_source(data.y)), c(on, row_source(data.sample_weight));
    const auto shown = [](fastbp_array array, const HostRows<Real>& rows) {
        array.data = const_cast<std::byte*>(rows.rows().data);
        array.on_device = 0;
        return array;
    };
    fastbp_data host = data;
    host.y = shown(data.y, y);
    host.sample_weight = shown(data.sample_weight, c);
    check_y(model, host);
    check_weights(host, use);
}

// The sum of a call's weights, for a mean, and whether some weight is not above 0.
struct Weighing {
    double total;
    bool has_masks;
};

// Throws if y or the weights do not fit the net. Every call checks them, since others may write them between calls. For
// a sum, weights may be negative, and all of them may be 0.
template <class Real>
Weighing check_targets(Backend<Real>& on, const Model& model, const fastbp_data& data, WeightUse use) {
    check_target_forms(model, data);
    const bool sum = use == WeightUse::sum;
    Index misfits = 0, misfits_of_c = 0, not_positive = 0;
    if (const auto rule = rule_of_y(model, data)) on.count_misfits(row_source(data.y), *rule, &misfits);
    double weight = double(data.x.rows);
    if (data.sample_weight.data != nullptr) {
        const RowSource c = row_source(data.sample_weight);
        on.count_misfits(c, rule_of_positive_weights(), &not_positive);
        if (not_positive > 0) on.count_misfits(c, rule_of_weights(sum), &misfits_of_c);
        if (!sum) weight = weight_of(on, c, {nullptr, 0, c.rows});
    }
    if (misfits + misfits_of_c > 0 || !(weight > 0)) look_closer(on, model, data, use);
    if (!sum) check_total(weight);
    return {weight, not_positive > 0};
}

// The weight of an order's rows, which a mean divides by. Throws Error if none of the rows counts.
template <class Real>
double weight_of_order(Backend<Real>& on, const RowSource& weights, RowRange rows) {
    const double weight = weight_of(on, weights, rows);
    if (rows.count == 0)
        throw Error(ErrorKind::value, "the order has 0 rows, a mean needs at least one; a sum needs none");
    if (!(weight > 0))
        throw Error(ErrorKind::value,
                    "sample_weight is 0 for every row of the order, expected at least one row that counts; a sum needs "
                    "none");
    check_total(weight);
    return weight;
}

}  // namespace fastbp
