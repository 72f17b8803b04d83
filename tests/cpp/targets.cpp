// Targets and weights that lie on a device are looked at there: the process fetches them only to say what is wrong.
#include "api/targets.hpp"

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "backend/loops/loop_backend.hpp"
#include "backend/loops/make_table.hpp"
#include "fastbp/fastbp.hpp"

namespace fastbp::test {
namespace {

constexpr LoopTable<double> loops_of_plain = loops::make_table<false, double>();

void expect(bool right, const std::string& what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::exit(1);
}

// Counts what comes to the process.
class Watched final : public LoopBackend<double> {
  public:
    Watched() : LoopBackend(loops_of_plain, "watched") {}
    std::size_t fetched = 0;
    void download(const void* from, void* to, std::size_t bytes) noexcept override {
        fetched += bytes;
        LoopBackend::download(from, to, bytes);
    }
};

Model model_of(Loss loss, Activation g) {
    Model model;
    model.layers = {{2, 3, g}};
    model.loss = loss;
    model.on_device = true;
    return model;
}

struct Case {
    std::string what;
    Model model;
    fastbp_array y, c = {};
    std::string refusal = "";  // a part of it
    bool sum = false;
};

// What the check says, and whether it fetched anything for that.
void check(Case given) {
    static const double X[8] = {};
    given.y.on_device = given.c.on_device = 1;
    fastbp_data data = data_of(rows(X, 4, 2), given.y, given.c);
    Watched on;
    std::string said;
    try {
        check_targets(on, given.model, data, given.sum ? WeightUse::sum : WeightUse::mean);
    } catch (const Error& error) {
        said = error.what();
    }
    expect(given.refusal.empty() == said.empty() && said.find(given.refusal) != std::string::npos,
           given.what + ": it says '" + said + "'");
    const bool doubtful = !said.empty() || given.what.find("does not count") != std::string::npos;
    expect((on.fetched > 0) == doubtful, given.what + ": " + std::to_string(on.fetched) + " bytes are fetched");
}

void run() {
    const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
    const Model classes = model_of(Loss::cross_entropy, Activation::softmax);
    const Model masks = model_of(Loss::cross_entropy, Activation::logistic);
    const Model counts = model_of(Loss::poisson, Activation::exp);
    const Model any = model_of(Loss::squared_error, Activation::identity);
    const std::vector<std::int64_t> right{0, 2, 1, 2}, three{0, 3, 1, 2}, minus{0, -1, 1, 2};
    const std::vector<float> half{0, 0.5, 1, 2};
    const std::vector<double> one{1, 2, 0, 1}, second{1, 0, 1, 1}, zero(4), negative{1, -1, 1, 1}, broken{1, nan, 1, 1};
    std::vector<double> p{.2F, .3F, .5F, 0, 0, 1, .25, .25, .5, 1, 0, 0}, q = p, r = p, rates = p;
    q[4] = 0.5;
    r[5] = 1.5;
    rates[7] = inf;
    const auto vector = [](const auto& of) { return labels(of.data(), 4); };
    const auto matrix = [](const auto& of) { return rows(of.data(), 4, 3); };
    std::vector<double> outputs(12, 1);
    outputs[4] = 0;

    check({"class numbers", classes, vector(right), vector(one)});
    check({"a class too many", classes, vector(three), {}, "y[1] is 3, expected a class number from 0 to 2"});
    check({"a class below 0", classes, vector(minus), vector(one), "y[1] is -1"});
    check({"a part of a class", classes, vector(half), {}, "y[1] is 0.5"});
    check({"a class that does not count", classes, vector(minus), vector(second)});
    check({"probabilities", classes, matrix(p)});
    check({"a sum of 1.5", classes, matrix(q), {}, "row 1 of y sums to 1.5"});
    check({"a sum that does not count", classes, matrix(q), vector(second)});
    check({"no sum where outputs are masked", classes, matrix(q), matrix(outputs)});
    check({"more than 1", classes, matrix(r), {}, "y[1, 2] is 1.5, expected a probability"});
    check({"labels", masks, matrix(q)});
    check({"more than a label", masks, matrix(r), {}, "y[1, 2] is 1.5, expected a target within [0, 1]"});
    check({"rates", counts, matrix(r)});
    check({"a rate that is not finite", counts, matrix(rates), {}, "y[2, 1] is inf, expected a finite count"});
    check({"anything", any, matrix(rates), vector(one)});
    check({"a negative weight", any, matrix(p), vector(negative),
           "sample_weight[1] is -1, expected numbers >= 0; negative"});
    check({"negative in a sum", any, matrix(p), vector(negative), "", true});
    check({"a weight that is none", any, matrix(p), vector(broken), "sample_weight[1] is nan", true});
    check({"no weight", any, matrix(p), vector(zero), "sample_weight is 0 everywhere"});
    check({"no weight in a sum", any, matrix(p), vector(zero), "", true});
}

}  // namespace
}  // namespace fastbp::test

int main() {
    fastbp::test::run();
    std::puts("targets: ok");
    return 0;
}
