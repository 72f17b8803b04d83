// Every output of every call is laid over the last number of everything else of the call: refused, with both names, and
// nothing is changed. Outputs that only touch something else are accepted.
#include <fastbp/fastbp.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int n = 4, inputs = 2, hidden = 3, outputs = 2, parameters = 9 + 8;
int failures = 0;

void expect(bool right, const std::string& what) {
    if (right) return;
    std::printf("%s: '%s'\n", what.c_str(), fastbp_last_error());
    ++failures;
}

struct Piece {
    const char* name;
    int numbers;  // of 8 bytes
    bool output;
};

// Where the pieces of a call lie in one memory: far from each other, or with no number between them.
class Layout {
  public:
    explicit Layout(std::vector<Piece> pieces) : pieces_(std::move(pieces)) { lay_out(gap); }

    double* operator()(const char* name) {
        for (std::size_t k = 0; k < pieces_.size(); ++k)
            if (pieces_[k].name == std::string(name)) return memory_.data() + first_[k];
        return nullptr;
    }

    void try_all(const std::string& what, const std::function<fastbp_status()>& call) {
        const std::vector<double> before = memory_;
        const std::vector<std::size_t> places = first_;
        for (std::size_t i = 0; i < pieces_.size(); ++i) {
            if (!pieces_[i].output) continue;
            for (std::size_t j = 0; j < pieces_.size(); ++j) {
                if (i == j) continue;
                first_[i] = places[j] + std::size_t(pieces_[j].numbers) - 1;
                const fastbp_status status = call();
                const std::string said = fastbp_last_error();
                const auto names = [&](std::size_t k) { return said.find(pieces_[k].name) != std::string::npos; };
                expect(
                    status == FASTBP_VALUE_ERROR && said.find("overlaps") != std::string::npos && names(i) && names(j),
                    what + ", " + pieces_[i].name + " over " + pieces_[j].name);
                expect(std::memcmp(memory_.data(), before.data(), before.size() * sizeof(double)) == 0,
                       what + " changed something");
                memory_ = before;
                first_ = places;
            }
        }
        lay_out(0);
        expect(call() == FASTBP_OK, what + " with pieces that touch");
    }

  private:
    static constexpr std::size_t gap = 64;

    void lay_out(std::size_t between) {
        const std::int64_t rows[n] = {2, 0, 3, 1};
        memory_.clear();
        first_.clear();
        for (const Piece& piece : pieces_) {
            first_.push_back(memory_.size());
            for (std::size_t i = 0; i < std::size_t(piece.numbers) + between; ++i)
                memory_.push_back(0.25 + 0.01 * double(memory_.size()));
            if (piece.name == std::string("order")) std::memcpy(memory_.data() + first_.back(), rows, sizeof rows);
        }
    }

    std::vector<Piece> pieces_;
    std::vector<std::size_t> first_;
    std::vector<double> memory_;
};

fastbp_array matrix(double* data, int columns) {
    return {data, FASTBP_FLOAT64, 0, 2, 0, n, columns, columns * 8, 8, nullptr, nullptr, 0, 0};
}

fastbp_array vector(double* data) { return {data, FASTBP_FLOAT64, 0, 1, 0, n, 1, 8, 8, nullptr, nullptr, 0, 0}; }

fastbp_net* make_net(const std::vector<std::int64_t>& widths) {
    const std::vector<std::int32_t> g(widths.size() - 1, FASTBP_IDENTITY);
    fastbp_net_spec spec = {};
    spec.size = sizeof spec;
    spec.type = FASTBP_FLOAT64;
    spec.layers = std::int32_t(g.size());
    spec.widths = widths.data();
    spec.activations = g.data();
    spec.loss = FASTBP_SQUARED_ERROR;
    fastbp_net* net = nullptr;
    expect(fastbp_net_create(&spec, &net) == FASTBP_OK, "a net");
    return net;
}

fastbp_data data_of(Layout& at) {
    fastbp_data data = {};
    data.size = sizeof data;
    data.x = matrix(at("X"), inputs);
    data.y = matrix(at("y"), outputs);
    data.sample_weight = vector(at("sample_weight"));
    if (at("order") != nullptr) {
        data.order = reinterpret_cast<const std::int64_t*>(at("order"));
        data.count = n;
    }
    return data;
}

const std::vector<Piece> given{{"X", n * inputs, false},
                               {"y", n * outputs, false},
                               {"sample_weight", n, false},
                               {"order", n, false},
                               {"params", parameters, false}};

std::vector<Piece> with(std::vector<Piece> more) {
    more.insert(more.begin(), given.begin(), given.end());
    return more;
}

void evaluate(const fastbp_net* net) {
    Layout at(with({{"grad", parameters, true},
                    {"input_grad", n * inputs, true},
                    {"s[0]", n * hidden, true},
                    {"s[1]", n * outputs, true},
                    {"x[0]", n * hidden, true},
                    {"x[1]", n * outputs, true},
                    {"deltas[0]", n * hidden, true},
                    {"deltas[1]", n * outputs, true},
                    {"example_loss", n, true},
                    {"example_grad_norm", n, true}}));
    at.try_all("evaluate", [&] {
        void *s[] = {at("s[0]"), at("s[1]")}, *x[] = {at("x[0]"), at("x[1]")},
             *deltas[] = {at("deltas[0]"), at("deltas[1]")};
        fastbp_results results = {};
        results.size = sizeof results;
        results.grad = at("grad");
        results.input_grad = at("input_grad");
        results.s = s;
        results.x = x;
        results.deltas = deltas;
        results.example_loss = at("example_loss");
        results.example_grad_norm = at("example_grad_norm");
        const fastbp_data data = data_of(at);
        return fastbp_evaluate(net, at("params"), &data, &results);
    });
}

// Parameters and gradients that do not lie in one array; `values` besides, so that there are many pieces.
void evaluate_parts(const fastbp_net* net, bool values) {
    std::vector<Piece> pieces = with({{"weights[0]", inputs * hidden, false},
                                      {"biases[0]", hidden, false},
                                      {"weights[1]", hidden * outputs, false},
                                      {"biases[1]", outputs, false},
                                      {"weight_grads[0]", inputs * hidden, true},
                                      {"bias_grads[0]", hidden, true},
                                      {"weight_grads[1]", hidden * outputs, true},
                                      {"bias_grads[1]", outputs, true}});
    pieces.erase(pieces.begin() + 4);  // params
    for (const char* name : {"s", "x", "deltas"})
        for (int k = 0; values && k < 2; ++k)
            pieces.push_back({k == 0 ? (name[0] == 's'   ? "s[0]"
                                        : name[0] == 'x' ? "x[0]"
                                                         : "deltas[0]")
                                     : (name[0] == 's'   ? "s[1]"
                                        : name[0] == 'x' ? "x[1]"
                                                         : "deltas[1]"),
                              n * (k == 0 ? hidden : outputs), true});
    Layout at(std::move(pieces));
    at.try_all(values ? "evaluate with parts and values" : "evaluate with parts", [&] {
        const void *weights[] = {at("weights[0]"), at("weights[1]")}, *biases[] = {at("biases[0]"), at("biases[1]")};
        void *weight_grads[] = {at("weight_grads[0]"), at("weight_grads[1]")},
             *bias_grads[] = {at("bias_grads[0]"), at("bias_grads[1]")};
        void *s[] = {at("s[0]"), at("s[1]")}, *x[] = {at("x[0]"), at("x[1]")},
             *deltas[] = {at("deltas[0]"), at("deltas[1]")};
        fastbp_data data = data_of(at);
        data.weights = weights;
        data.biases = biases;
        fastbp_results results = {};
        results.size = sizeof results;
        results.weight_grads = weight_grads;
        results.bias_grads = bias_grads;
        if (values) {
            results.s = s;
            results.x = x;
            results.deltas = deltas;
        }
        return fastbp_evaluate(net, nullptr, &data, &results);
    });
}

void passes(const fastbp_net* net) {
    const int kept_size = int(fastbp_kept_size(net, n));
    Layout forward({{"X", n * inputs, false},
                    {"params", parameters, false},
                    {"out", n * outputs, true},
                    {"kept", kept_size, true}});
    forward.try_all("forward", [&] {
        fastbp_data data = {};
        data.size = sizeof data;
        data.x = matrix(forward("X"), inputs);
        return fastbp_forward(net, forward("params"), &data, forward("out"), forward("kept"));
    });
    Layout back({{"X", n * inputs, false},
                 {"params", parameters, false},
                 {"kept", kept_size, false},
                 {"cotangent", n * outputs, false},
                 {"grad", parameters, true},
                 {"input_grad", n * inputs, true}});
    back.try_all("pull_back", [&] {
        fastbp_data data = {};
        data.size = sizeof data;
        data.x = matrix(back("X"), inputs);
        const fastbp_array cotangent = matrix(back("cotangent"), outputs);
        fastbp_results results = {};
        results.size = sizeof results;
        results.grad = back("grad");
        results.input_grad = back("input_grad");
        return fastbp_pull_back(net, back("params"), &data, back("kept"), &cotangent, &results);
    });
}

void push_forward(const fastbp_net* net) {
    Layout at(with({{"params_dot", parameters, false},
                    {"x_dot", n * inputs, false},
                    {"output_dot", n * outputs, true},
                    {"grad_dot", parameters, true},
                    {"input_grad_dot", n * inputs, true}}));
    at.try_all("push_forward", [&] {
        fastbp_tangent tangent = {};
        tangent.size = sizeof tangent;
        tangent.params_dot = at("params_dot");
        tangent.x_dot = matrix(at("x_dot"), inputs);
        tangent.output_dot = at("output_dot");
        tangent.grad_dot = at("grad_dot");
        tangent.input_grad_dot = at("input_grad_dot");
        const fastbp_data data = data_of(at);
        return fastbp_push_forward(net, at("params"), &data, &tangent);
    });
}

void training(const fastbp_net* net) {
    std::vector<Piece> pieces = with({{"moments[0]", parameters, true},
                                      {"moments[1]", parameters, true},
                                      {"lr", 2, false},
                                      {"values", 2, true},
                                      {"grad", parameters, true}});
    pieces[4].output = true;  // params
    Layout at(std::move(pieces));
    fastbp_step_rule adam = {};
    adam.size = sizeof adam;
    adam.kind = FASTBP_ADAM;
    adam.eps = 1e-8;
    at.try_all("run_epoch", [&] {
        void* moments[] = {at("moments[0]"), at("moments[1]")};
        fastbp_epoch epoch = {};
        epoch.size = sizeof epoch;
        epoch.rule = adam;
        epoch.moments = moments;
        epoch.batch_size = 2;
        epoch.lr = at("lr");
        epoch.values = at("values");
        epoch.grad = at("grad");
        epoch.grad_hook = [](void*, std::int32_t, void*, std::int64_t) { return 0; };
        const fastbp_data data = data_of(at);
        return fastbp_run_epoch(net, at("params"), &data, &epoch);
    });
    Layout update({{"params", 5, true}, {"grad", 5, false}, {"moments[0]", 5, true}, {"moments[1]", 5, true}});
    update.try_all("update", [&] {
        void* moments[] = {update("moments[0]"), update("moments[1]")};
        return fastbp_update(&adam, nullptr, FASTBP_FLOAT64, 5, update("params"), update("grad"), moments, 0.1, 1);
    });
    Layout load({{"from", n * outputs, false}, {"to", n * outputs, true}});
    load.try_all("load", [&] {
        const fastbp_array from = matrix(load("from"), outputs);
        return fastbp_load("cpu", &from, FASTBP_FLOAT64, load("to"));
    });
}

// Compressed rows: numbers, columns and starts are all read.
void compressed(const fastbp_net* net) {
    Layout at({{"X", n, false}, {"params", parameters, false}, {"out", n * outputs, true}});
    std::vector<std::int64_t> columns(n + n * outputs), starts{0, 1, 2, 3, 4};
    starts.resize(starts.size() + n * outputs);
    const auto call = [&](void* out) {
        fastbp_data data = {};
        data.size = sizeof data;
        data.x = matrix(at("X"), inputs);
        data.x.row_stride = 0;
        data.x.index_type = FASTBP_INT64;
        data.x.columns = columns.data();
        data.x.starts = starts.data();
        return fastbp_forward(net, at("params"), &data, out, nullptr);
    };
    at.try_all("forward of compressed rows", [&] { return call(at("out")); });
    for (std::int64_t* last : {columns.data() + n - 1, starts.data() + n})
        expect(call(last) == FASTBP_VALUE_ERROR, "forward over the columns or the starts");
}

// So many arrays that they are sorted.
void deep() {
    constexpr int layers = 40;
    fastbp_net* net = make_net(std::vector<std::int64_t>(layers + 1, 1));
    std::vector<double> memory(3 * n * layers + n, 0.5), params(2 * layers, 1.0);
    double* const X = memory.data() + 3 * n * layers;
    void* values[3 * layers];
    for (int k = 0; k < 3 * layers; ++k) values[k] = memory.data() + n * ((k * 7) % (3 * layers));
    fastbp_data data = {};
    data.size = sizeof data;
    data.x = matrix(X, 1);
    data.y = data.x;  // inputs may be the same
    const auto call = [&] {
        fastbp_results results = {};
        results.size = sizeof results;
        results.s = values;
        results.x = values + layers;
        results.deltas = values + 2 * layers;
        return fastbp_evaluate(net, params.data(), &data, &results);
    };
    expect(call() == FASTBP_OK, "many values that touch");
    for (void* over : {values[3], values[layers + 20], static_cast<void*>(X), static_cast<void*>(params.data())}) {
        void* const before = std::exchange(values[17], static_cast<char*>(over) + 8);
        expect(call() == FASTBP_VALUE_ERROR && std::string(fastbp_last_error()).find("s[17]") != std::string::npos,
               "s[17] over another of many");
        values[17] = before;
    }
    fastbp_net_destroy(net);
}

}  // namespace

int main() {
    fastbp_net* net = make_net({inputs, hidden, outputs});
    evaluate(net);
    evaluate_parts(net, false);
    evaluate_parts(net, true);
    passes(net);
    push_forward(net);
    training(net);
    compressed(net);
    deep();
    fastbp_net_destroy(net);
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
