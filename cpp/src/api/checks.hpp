// What the C door looks at before work starts: whether sizes and values of the data fit the net. Every text names the
// argument, what came and what was expected.
#pragma once

#include <optional>

#include "execution/model.hpp"
#include "fastbp/fastbp.h"
#include "seam/error.hpp"
#include "seam/number_rule.hpp"

namespace fastbp {

// The caller's array as a row source.
RowSource row_source(const fastbp_array& array);

// Plain numbers in one or two dimensions, which a device (or the process alone) can read.
void check_source(const fastbp_array& array, const char* name, bool distant);

// The rows a call works on.
RowRange row_range(const fastbp_data& data);

bool y_is_classes(const Model& model, const fastbp_data& data);

// The data lie where the net can read them; X has d(0) columns; row numbers exist. Returns the largest count of numbers
// in a row of a compressed X, at least 1; 0 for a dense X.
Index check_rows(const Model& model, const fastbp_data& data);

// What a loss needs besides: there are rows, and y and the weights are of their number and shape.
void check_target_forms(const Model& model, const fastbp_data& data);

// What the loss asks of y's numbers, where any will not do; and of weights, which may be negative in a sum.
std::optional<NumberRule> rule_of_y(const Model& model, const fastbp_data& data);
NumberRule rule_of_weights(bool sum);
// The rule for weights above 0. Subnormal weights do not fit it, because a processor may treat them as 0.
NumberRule rule_of_positive_weights();

// The use of the weights: a mean over the batch, a sum, for which they may be negative, or the steps of a training,
// which always use means.
enum class WeightUse { mean, sum, steps };

// The same for y and weights in the process's memory, with the words for the first number that does not fit. Of y those
// count whose weights are not 0; of the weights some must count, unless for a sum.
void check_y(const Model& model, const fastbp_data& data);
void check_weights(const fastbp_data& data, WeightUse use);
// The sum of a mean's weights, which it divides by.
void check_total(double weight);

// As many arrays are there as the rule keeps.
void check_moments(const StepRule& rule, void* const* moments);

// The caller's rule. Throws Error if it is NULL, of no known kind, or has a number that its kind cannot use.
StepRule step_rule(const fastbp_step_rule* rule);

// Every learning rate that the rule reads is finite and not negative.
void check_rates(const StepRule& rule, const double* lr, Index steps);

// The largest norm of a gradient: a number above 0, or 0 for none.
void check_limit(const char* name, double limit);

// A number and the type of a net's numbers, as error texts show them.
std::string text_of(double number);
template <class Real>
inline const std::string name_of = sizeof(Real) == 4 ? "float32" : "float64";

void check_cotangent(const Model& model, const fastbp_array& cotangent, Index rows);

// There is a direction, its parts fit, and what is asked for along it has a derivative.
void check_direction(const Model& model, const fastbp_data& data, const fastbp_tangent& tangent);

}  // namespace fastbp
