// y and the weights of a call, in whichever memory they lie: looked at there, and brought to the process only where
// something does not fit.
#pragma once

#include "api/checks.hpp"
#include "execution/resident.hpp"
#include "execution/weights.hpp"

namespace fastbp {

// The weight of all rows, for a mean; throws where y or the weights do not fit the net. They are looked at in every
// call, since others may write them in between. `sum`: weights may be negative, and all of them 0.
template <class Real>
double check_targets(Backend<Real>& on, const Model& model, const fastbp_data& data, bool sum) {
    check_target_forms(model, data);
    const auto fit = [&](const RowSource& numbers, const NumberRule& rule) {
        Index misfits = 0;
        on.count_misfits(numbers, rule, &misfits);
        return misfits == 0;
    };
    const RowSource y = row_source(data.y), c = row_source(data.sample_weight);
    const auto rule = rule_of_y(model, data);
    const bool y_fits = !rule || fit(y, *rule);
    const bool c_fits = c.empty() || fit(c, rule_of_weights(sum));
    const double weight = sum ? 1 : weight_of(on, c, {nullptr, 0, data.x.rows});
    if (y_fits && c_fits && weight > 0) return weight;
    const HostRows<Real> host_y(on, y_fits ? RowSource{} : y), host_c(on, c);
    const auto shown = [](fastbp_array array, const HostRows<Real>& rows) {
        array.data = const_cast<std::byte*>(rows.rows().data);
        array.on_device = 0;
        return array;
    };
    fastbp_data host = data;
    host.y = shown(data.y, host_y);
    host.sample_weight = shown(data.sample_weight, host_c);
    if (!y_fits) check_y(model, host);  // what does not fit may not count
    check_weights(host, sum);
    return weight;
}

}  // namespace fastbp
