#include "api/checks.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>

#include "seam/each_number.hpp"
#include "seam/error.hpp"

namespace fastbp {
namespace {

// BLAS counts in 32-bit integers.
constexpr Index most = std::numeric_limits<std::int32_t>::max();
constexpr double largest = std::numeric_limits<double>::max();

template <class... Part>
[[noreturn]] void refuse(const Part&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(ErrorKind::value, text.str());
}

std::string shape(const fastbp_array& array) {
    std::ostringstream text;
    text << "(" << array.rows << ",";
    if (array.dimensions == 2) text << " " << array.cols;
    text << ")";
    return text.str();
}

void check_numbers(const fastbp_array& array, const char* name) {
    if (array.type < FASTBP_FLOAT32 || array.type > FASTBP_UINT64)
        refuse(name, " has an unknown number type ", array.type);
    if (array.dimensions != 1 && array.dimensions != 2)
        refuse(name, " has ", array.dimensions, " dimensions, expected 1 or 2");
    if (array.rows < 0 || array.cols < 0) refuse(name, " has a negative size");
    if (array.data == nullptr && array.rows > 0 && array.cols > 0)
        refuse(name, ".data is NULL, expected ", array.rows, " x ", array.cols, " numbers");
    if (array.starts != nullptr) refuse(name, " is in compressed rows, which X alone may be");
}

void check_form(const fastbp_array& array, const char* name) {
    check_numbers(array, name);
    if (array.rows > most || array.cols > most)
        refuse(name, " has shape ", shape(array), ", at most 2147483647 rows or columns are possible");
}

// Memory of a device is for nets there, and holds plain numbers.
void check_place(bool distant, const fastbp_array& array, const char* name) {
    if (array.on_device == 0) return;
    if (!distant) refuse(name, " lies on a device, the net on the cpu");
    if (array.starts != nullptr)
        refuse(name, " is in compressed rows on a device, expected them in the process's memory");
    const Index size = bytes_of(NumberType(array.type));
    if (array.byte_swapped != 0 || array.type == FASTBP_LONG_DOUBLE)
        refuse(name, " on a device holds numbers that it has not: long double, or in the other byte order");
    if (array.row_stride < 0 || array.col_stride < 0 || array.row_stride % size != 0 || array.col_stride % size != 0)
        refuse(name, " on a device has strides ", array.row_stride, " and ", array.col_stride,
               ", expected multiples of ", size, " from 0");
    // A GPU that meets such a number is of no use to the whole process any more.
    if (array.rows > 0 && array.cols > 0 && reinterpret_cast<std::uintptr_t>(array.data) % std::uintptr_t(size) != 0)
        refuse(name, " on a device is not aligned to its numbers of ", size, " bytes");
}

// Compressed rows: what they point at is there. Returns the largest count of numbers in a row, at least 1.
Index check_compressed(const fastbp_array& array, const char* name) {
    if (array.type < FASTBP_FLOAT32 || array.type > FASTBP_UINT64)
        refuse(name, " has an unknown number type ", array.type);
    if (array.index_type != FASTBP_INT32 && array.index_type != FASTBP_INT64)
        refuse(name, " has places of the number type ", array.index_type, ", expected int32 or int64");
    if (array.dimensions != 2 || array.rows < 0 || array.cols < 0 || array.rows > most || array.cols > most)
        refuse(name, " has shape ", shape(array), ", expected a matrix");
    const RowSource source = row_source(array);
    if (source.start(0) != 0) refuse(name, "'s starts begin with ", source.start(0), ", expected 0");
    Index largest_row = 1;
    for (Index i = 0; i < array.rows; ++i) {
        const Index begin = source.start(i), end = source.start(i + 1);
        if (end < begin) refuse(name, "'s row ", i, " starts at ", begin, " and ends at ", end);
        largest_row = std::max(largest_row, end - begin);
    }
    const Index kept = source.start(array.rows);
    if (kept > 0 && (array.data == nullptr || array.columns == nullptr))
        refuse(name, " is in compressed rows without data or columns");
    for (Index k = 0; k < kept; ++k)
        if (source.column(k) < 0 || source.column(k) >= array.cols)
            refuse(name, " has a number in column ", source.column(k), ", of ", array.cols, " columns");
    return largest_row;
}

double weight(const RowSource& c, Index row, Index col) {
    if (c.empty()) return 1;
    double value = 0;
    RowSource cell = c;
    if (c.cols > 1) cell.data += col * c.col_stride;
    load_rows(cell, {nullptr, row, 1}, Matrix<double>{&value, 1, 1, 1, 1});
    return value;
}

// Whether anything of the row counts, that is whether one of its weights is not 0.
bool row_counts(const RowSource& c, Index row) {
    for (Index j = 0; j < c.cols; ++j)
        if (weight(c, row, j) != 0) return true;
    return c.empty();
}

// Checks every target that counts; `expected` is the rule in words, put together where one fails.
template <class... Words>
void check_values(const fastbp_data& data, const NumberRule& rule, const Words&... expected) {
    const RowSource y = row_source(data.y), c = row_source(data.sample_weight);
    for_each_number(y, {nullptr, 0, y.rows}, [&](Index i, Index j, double value) {
        if (!rule.fits(value) && (y.cols == c.cols ? weight(c, i, j) != 0 : row_counts(c, i)))
            refuse("y[", i, data.y.dimensions == 2 ? ", " + std::to_string(j) : "", "] is ", value, ", expected ",
                   expected...);
    });
}

void check_probabilities(const fastbp_data& data, const NumberRule& rule) {
    check_values(data, rule, "a probability within [0, 1]");
    const RowSource y = row_source(data.y), c = row_source(data.sample_weight);
    double sum = 0;
    for_each_number(y, {nullptr, 0, y.rows}, [&](Index i, Index j, double value) {
        sum = (j == 0 ? 0.0 : sum) + value;
        if (rule.rows_sum_to_one && j + 1 == y.cols && !rule.sum_fits(sum) && weight(c, i, 0) != 0)
            refuse("row ", i, " of y sums to ", sum, ", expected 1: each row holds the probabilities of the classes");
    });
}

void check_y_form(const Model& model, const fastbp_data& data) {
    const fastbp_array& y = data.y;
    const bool softmax = model.output_activation() == Activation::softmax;
    if (y.data == nullptr && y.rows == 0) refuse("y is missing: the loss needs a target");
    check_form(y, "y");
    if (y.rows != data.x.rows) refuse("y has ", y.rows, " rows, X has ", data.x.rows);
    if (y.dimensions == 1 && !softmax && model.outputs() != 1)
        refuse("y has shape ", shape(y), ", expected (", data.x.rows, ", ", model.outputs(),
               "): one column per output");
    if (y.dimensions == 2 && y.cols != model.outputs()) {
        if (softmax && y.cols == 1)
            refuse("y has shape ", shape(y), ", a column; class numbers are a vector: pass y.ravel()");
        refuse("y has ", y.cols, " columns, the net has ", model.outputs(), " outputs");
    }
}

void check_weights_form(const Model& model, const fastbp_data& data) {
    const fastbp_array& c = data.sample_weight;
    if (c.data == nullptr) return;
    check_form(c, "sample_weight");
    if (c.rows != data.x.rows) refuse("sample_weight has ", c.rows, " rows, X has ", data.x.rows);
    if (c.dimensions == 2 && c.cols != model.outputs())
        refuse("sample_weight has shape ", shape(c), ", expected (", data.x.rows, ",) or (", data.x.rows, ", ",
               model.outputs(), ")");
    if (c.dimensions == 2 && c.cols > 1 && data.loss_function != nullptr)
        refuse("sample_weight has shape ", shape(c),
               "; a loss given as a function has one value per row, so expected (", data.x.rows, ",)");
}

}  // namespace

std::string text_of(double number) {
    std::ostringstream text;
    text << number;
    return text.str();
}

RowSource row_source(const fastbp_array& array) {
    return {static_cast<const std::byte*>(array.data),
            NumberType(array.type),
            array.byte_swapped != 0,
            array.rows,
            array.cols,
            array.row_stride,
            array.col_stride,
            array.on_device != 0,
            static_cast<const std::byte*>(array.columns),
            static_cast<const std::byte*>(array.starts),
            NumberType(array.index_type)};
}

void check_source(const fastbp_array& array, const char* name, bool distant) {
    check_numbers(array, name);
    check_place(distant, array, name);
}

RowRange row_range(const fastbp_data& data) {
    return data.order != nullptr ? RowRange{data.order, 0, data.count} : RowRange{nullptr, 0, data.x.rows};
}

bool y_is_classes(const Model& model, const fastbp_data& data) {
    return model.output_activation() == Activation::softmax && data.y.dimensions == 1;
}

Index check_rows(const Model& model, const fastbp_data& data) {
    check_place(model.on_device, data.x, "X");
    check_place(model.on_device, data.y, "y");
    check_place(model.on_device, data.sample_weight, "sample_weight");
    Index kept_per_row = 0;
    if (data.x.starts != nullptr)
        kept_per_row = check_compressed(data.x, "X");
    else
        check_form(data.x, "X");
    if (data.x.dimensions != 2)
        refuse("X has shape ", shape(data.x), ", expected (N, ", model.inputs(), "); for one row write X[None, :]");
    if (data.x.cols != model.inputs())
        refuse("X has ", data.x.cols, " columns, layer 1 (weights[0]) expects ", model.inputs());
    if (data.order == nullptr) return kept_per_row;
    if (data.count < 0) refuse("count is ", data.count, ", expected how many row numbers there are");
    for (Index i = 0; i < data.count; ++i)
        if (data.order[i] < 0 || data.order[i] >= data.x.rows)
            refuse("row number ", data.order[i], " at position ", i, " of the order, X has ", data.x.rows, " rows");
    return kept_per_row;
}

void check_target_forms(const Model& model, const fastbp_data& data) {
    if (data.x.rows == 0) refuse("X has 0 rows, a loss needs at least one");
    if (data.loss_function == nullptr) {
        if (model.loss == Loss::none) refuse("the net has no loss; give one when the net is made");
        check_y_form(model, data);
    }
    check_weights_form(model, data);
}

std::optional<NumberRule> rule_of_y(const Model& model, const fastbp_data& data) {
    if (data.loss_function != nullptr) return std::nullopt;
    if (y_is_classes(model, data)) return NumberRule{0, double(model.outputs() - 1), true};
    // Masked entries say nothing of sums.
    const bool masked = data.sample_weight.dimensions == 2 && data.sample_weight.cols > 1;
    if (model.output_activation() == Activation::softmax) return NumberRule{0, 1, false, !masked};
    if (model.loss == Loss::cross_entropy) return NumberRule{0, 1};
    if (model.loss == Loss::poisson) return NumberRule{0, largest};
    return std::nullopt;
}

NumberRule rule_of_weights(bool sum) { return {sum ? -largest : 0, largest}; }

NumberRule rule_of_positive_weights() { return {std::numeric_limits<double>::min(), largest}; }

void check_y(const Model& model, const fastbp_data& data) {
    const std::optional<NumberRule> rule = rule_of_y(model, data);
    if (!rule) return;
    if (rule->whole)
        return check_values(data, *rule, "a class number from 0 to ", model.outputs() - 1,
                            "; for other labels use numpy.unique(y, return_inverse=True)");
    if (model.output_activation() == Activation::softmax) return check_probabilities(data, *rule);
    if (model.loss == Loss::poisson) return check_values(data, *rule, "a finite count or rate >= 0");
    check_values(data, *rule,
                 "a target within [0, 1] (map -1/+1 to 0/1 by (y + 1) / 2; fastbp.sklearn takes any labels)");
}

void check_weights(const fastbp_data& data, WeightUse use) {
    const bool sum = use == WeightUse::sum, steps = use == WeightUse::steps;
    const fastbp_array& c = data.sample_weight;
    if (c.data == nullptr) return;
    bool any = false;
    for_each_number(row_source(c), {nullptr, 0, c.rows}, [&](Index i, Index j, double value) {
        if (!std::isfinite(value))
            refuse("sample_weight[", i, c.dimensions == 2 ? ", " + std::to_string(j) : "", "] is ", value,
                   ", expected a finite number");
        if (value < 0 && !sum)
            refuse("sample_weight[", i, c.dimensions == 2 ? ", " + std::to_string(j) : "", "] is ", value,
                   ", expected numbers >= 0; negative weights are possible with ",
                   steps ? "value_and_grad(.., reduction='sum'), and TrainState.update makes a step of its gradient"
                         : "reduction='sum'");
        any = any || value != 0;
    });
    if (!any && !sum)
        refuse("sample_weight is 0 everywhere, expected at least one row that counts",
               steps ? "" : "; with reduction='sum' none need count");
}

void check_total(double weight) {
    if (!(weight >= std::numeric_limits<double>::min() && weight <= largest))
        refuse("sample_weight sums to ", weight, ", expected a sum from ", std::numeric_limits<double>::min(), " to ",
               largest, ": scale the weights");
}

void check_cotangent(const Model& model, const fastbp_array& cotangent, Index rows) {
    check_form(cotangent, "cotangent");
    check_place(model.on_device, cotangent, "cotangent");
    if (cotangent.dimensions != 2 || cotangent.rows != rows || cotangent.cols != model.outputs())
        refuse("cotangent has shape ", shape(cotangent), ", expected (", rows, ", ", model.outputs(), ")");
}

void check_direction(const Model& model, const fastbp_data& data, const fastbp_tangent& tangent) {
    const fastbp_array& x_dot = tangent.x_dot;
    if (tangent.params_dot == nullptr && x_dot.data == nullptr)
        refuse("there is no direction: neither in the parameters nor in X");
    if (x_dot.data != nullptr) {
        check_form(x_dot, "the direction in X");
        check_place(model.on_device, x_dot, "the direction in X");
        if (x_dot.rows != data.x.rows || x_dot.cols != model.inputs())
            refuse("the direction in X has shape ", shape(x_dot), ", expected that of X, ", shape(data.x));
    }
    if (tangent.grad_dot == nullptr && tangent.input_grad_dot == nullptr) return;
    if (tangent.cotangent.data != nullptr) {
        if (tangent.gauss_newton != 0) refuse("a Gauss-Newton product is of the net's loss, and takes no cotangent");
        return check_cotangent(model, tangent.cotangent, data.x.rows);
    }
    if (data.loss_function != nullptr)
        refuse("the loss is a function that gives first derivatives only; second ones need one of the named losses");
}

}  // namespace fastbp
