// The caller's step rules and learning rates: every number that the rule's kind reads is checked.
#include <cmath>
#include <sstream>

#include "api/checks.hpp"
#include "api/sized.hpp"

namespace fastbp {
namespace {

template <class... Part>
[[noreturn]] void refuse(const Part&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(ErrorKind::value, text.str());
}

bool at_least_zero(double number) { return std::isfinite(number) && number >= 0; }

void check_at_least_zero(const char* name, double number) {
    if (!at_least_zero(number)) refuse("rule.", name, " is ", number, ", expected a finite number >= 0");
}

void check_decay(const char* name, double number) {
    if (!(number >= 0 && number < 1)) refuse("rule.", name, " is ", number, ", expected a number from 0 to below 1");
}

void check_rprop(const fastbp_step_rule& rule) {
    if (!(rule.eta_minus > 0 && rule.eta_minus < 1 && rule.eta_plus > 1 && std::isfinite(rule.eta_plus)))
        refuse("rule.eta_minus and eta_plus are ", rule.eta_minus, " and ", rule.eta_plus,
               ", expected finite numbers with 0 < eta_minus < 1 < eta_plus");
    if (!(rule.step_size_min >= 0 && rule.step_size_min <= rule.step_size_max))
        refuse("rule.step_size_min and step_size_max are ", rule.step_size_min, " and ", rule.step_size_max,
               ", expected 0 <= step_size_min <= step_size_max");
}

void check_numbers(const fastbp_step_rule& rule) {
    if (rule.kind == FASTBP_RPROP) return check_rprop(rule);
    check_at_least_zero("weight_decay", rule.weight_decay);
    if (rule.kind == FASTBP_SGD || rule.kind == FASTBP_RMSPROP) check_at_least_zero("momentum", rule.momentum);
    if (rule.kind != FASTBP_SGD) check_at_least_zero("eps", rule.eps);
    if (rule.kind == FASTBP_SGD) {
        check_at_least_zero("dampening", rule.dampening);
        if (rule.nesterov != 0 && (rule.momentum == 0 || rule.dampening != 0))
            refuse("rule.nesterov needs a momentum > 0 and a dampening of 0, they are ", rule.momentum, " and ",
                   rule.dampening);
    }
    if (rule.kind == FASTBP_ADAM || rule.kind == FASTBP_ADAMW) {
        check_decay("beta1", rule.beta1);
        check_decay("beta2", rule.beta2);
    }
    if (rule.kind == FASTBP_RMSPROP) check_decay("alpha", rule.alpha);
    if (rule.kind == FASTBP_ADAGRAD) check_at_least_zero("lr_decay", rule.lr_decay);
}

}  // namespace

StepRule step_rule(const fastbp_step_rule* given) {
    Sized<const fastbp_step_rule> sized(given, "rule");
    const fastbp_step_rule& rule = *sized;
    if (rule.kind < FASTBP_SGD || rule.kind > FASTBP_RPROP)
        refuse("rule.kind is ", rule.kind, ", which is none of the optimisers");
    check_numbers(rule);
    return {Optimizer(rule.kind), rule.nesterov != 0, rule.centered != 0, rule.momentum,      rule.dampening,
            rule.weight_decay,    rule.beta1,         rule.beta2,         rule.eps,           rule.alpha,
            rule.lr_decay,        rule.eta_minus,     rule.eta_plus,      rule.step_size_min, rule.step_size_max};
}

void check_moments(const StepRule& rule, void* const* moments) {
    const int needed = moment_count(rule);
    for (int k = 0; k < needed; ++k)
        if (moments == nullptr || moments[k] == nullptr)
            refuse("moments", moments == nullptr ? "" : "[" + std::to_string(k) + "]", " is NULL, expected ", needed,
                   " arrays");
}

void check_rates(const StepRule& rule, const double* lr, Index steps) {
    if (rule.kind == Optimizer::rprop) return;  // which does not look at them
    for (Index k = 0; k < steps; ++k)
        if (!at_least_zero(lr[k])) refuse("lr[", k, "] is ", lr[k], ", expected a finite number >= 0");
}

void check_limit(const char* name, double limit) {
    if (!(limit >= 0)) refuse(name, " is ", limit, ", expected a number > 0, or 0 for no limit");
}

void check_size(const void* given, std::size_t known, const char* name) {
    if (given == nullptr) refuse(name, " is NULL");
    // A size beyond this one is a field that was not set, and behind it nobody knows what can be read.
    constexpr std::size_t most = 4096;
    const std::size_t size = *static_cast<const std::size_t*>(given);
    if (size <= sizeof size || size > most)
        refuse(name, ".size is ", size, ", expected ", known, ": set it to the sizeof of the struct");
    const auto* bytes = static_cast<const unsigned char*>(given);
    for (std::size_t k = known; k < size; ++k)
        if (bytes[k] != 0)
            refuse(name, ".size is ", size, ", expected at most ", known,
                   ", and the bytes behind are not 0: the header is newer than this library (", FASTBP_VERSION,
                   "), which does not know the fields there");
}

}  // namespace fastbp
