#include "api/memory_use.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "api/checks.hpp"

namespace fastbp {
namespace {

std::string shown(const char* name, std::int32_t layer) {
    return layer < 0 ? name : name + ("[" + std::to_string(layer) + "]");
}

// What every call reads: X, the order, the parameters.
void read_data(MemoryUse& use, const void* params, const fastbp_data& data) {
    use.reads("X", data.x);
    if (params != nullptr)
        use.reads_parameters("params", params);
    else
        use.reads_parts(data.weights, data.biases);
    if (data.order != nullptr) use.reads("order", data.order, data.count * Index(sizeof *data.order));
}

// A loss given as a function does not look at y.
void read_targets(MemoryUse& use, const fastbp_data& data) {
    if (data.loss_function == nullptr) use.reads("y", data.y);
    use.reads("sample_weight", data.sample_weight);
}

int lists_of(const void* params) { return params == nullptr ? 2 : 0; }

}  // namespace

MemoryUse::MemoryUse(const Model& model, Index bytes_per_number, int lists) : model_(model), number_(bytes_per_number) {
    const std::size_t most = few + std::size_t(lists) * model.layers.size();
    if (most > own_.size()) more_ = std::make_unique<Range[]>(most);
    ranges_ = more_ != nullptr ? more_.get() : own_.data();
}

void MemoryUse::reads(const char* name, const fastbp_array& array) {
    const Index number = bytes_of(NumberType(array.type));
    if (array.starts != nullptr) {
        const RowSource rows = row_source(array);
        const Index kept = rows.start(array.rows), place = bytes_of(rows.index_type);
        reads(name, array.data, kept > 0 ? (kept - 1) * array.col_stride + number : 0);
        reads(name, array.columns, kept * place);
        return reads(name, array.starts, (array.rows + 1) * place);
    }
    if (array.data == nullptr || array.rows <= 0 || array.cols <= 0) return;
    const Index down = (array.rows - 1) * array.row_stride, right = (array.cols - 1) * array.col_stride;
    const char* first = static_cast<const char*>(array.data) + std::min<Index>(down, 0) + std::min<Index>(right, 0);
    const Index bytes = number + std::abs(down) + std::abs(right);
    reads(name, first, bytes);
}

void MemoryUse::reads_parameters(const char* name, const void* memory) {
    reads(name, memory, model_.parameter_count * number_);
}

void MemoryUse::writes_parameters(const char* name, const void* memory) {
    writes(name, memory, model_.parameter_count * number_);
}

void MemoryUse::writes_rows(const char* name, const void* memory, Index n, Index cols) {
    writes(name, memory, n * cols * number_);
}

void MemoryUse::writes_values(const char* name, void* const* list, Index n) {
    if (list == nullptr) return;
    for (std::size_t k = 0; k < model_.layers.size(); ++k)
        writes(name, list[k], n * model_.layers[k].outputs * number_, std::int32_t(k));
}

void MemoryUse::reads_parts(const void* const* weights, const void* const* biases) {
    for (std::size_t k = 0; k < model_.layers.size(); ++k) {
        const LayerShape& layer = model_.layers[k];
        reads("weights", weights[k], layer.inputs * layer.outputs * number_, std::int32_t(k));
        reads("biases", biases[k], layer.outputs * number_, std::int32_t(k));
    }
}

void MemoryUse::writes_parts(void* const* weights, void* const* biases) {
    if (weights == nullptr || biases == nullptr) return;
    for (std::size_t k = 0; k < model_.layers.size(); ++k) {
        const LayerShape& layer = model_.layers[k];
        writes("weight_grads", weights[k], layer.inputs * layer.outputs * number_, std::int32_t(k));
        writes("bias_grads", biases[k], layer.outputs * number_, std::int32_t(k));
    }
}

// Compares each output with everything. Many ranges are sorted instead.
void MemoryUse::check() {
    constexpr std::size_t most_pairs = 512;
    if (outputs_ * size_ > most_pairs) return check_sorted();
    for (const Range& output : ranges()) {
        if (!output.written) continue;
        int found = 0;
        for (const Range& other : ranges()) found += output.overlaps(other);
        if (found == 1) continue;  // itself
        for (const Range& other : ranges())
            if (&other != &output && output.overlaps(other))
                refuse(other.written && &other > &output ? other : output,
                       other.written && &other > &output ? output : other);
    }
}

// In the order of their beginnings, a range overlaps one before it exactly if it overlaps the one that ends last.
void MemoryUse::check_sorted() {
    std::sort(ranges_, ranges_ + size_, [](const Range& a, const Range& b) { return a.begin < b.begin; });
    const Range *last = nullptr, *last_written = nullptr;
    for (const Range& range : ranges()) {
        const Range* before = range.written ? last : last_written;
        if (before != nullptr && range.overlaps(*before))
            refuse(range.written ? range : *before, range.written ? *before : range);
        if (last == nullptr || range.end > last->end) last = &range;
        if (range.written && (last_written == nullptr || range.end > last_written->end)) last_written = &range;
    }
}

void MemoryUse::refuse(const Range& one, const Range& other) {
    throw Error(ErrorKind::value, shown(one.name, one.layer) + " overlaps " + shown(other.name, other.layer) +
                                      " in memory, expected outputs apart from all else");
}

void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const void* out, const void* kept) {
    const Index n = row_range(data).count;
    MemoryUse use(model, bytes_per_number, lists_of(params));
    use.writes_rows("kept", kept, 1, model.kept_size(n));
    use.writes_rows("out", out, n, model.outputs());
    read_data(use, params, data);
    use.check();
}

void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const void* kept, const fastbp_array* cotangent, const fastbp_results& results) {
    const Index n = row_range(data).count;
    const bool parts = results.grad == nullptr && results.weight_grads != nullptr;
    const int values = (results.s != nullptr) + (results.x != nullptr) + (results.deltas != nullptr);
    MemoryUse use(model, bytes_per_number, lists_of(params) + (parts ? 2 : 0) + values);
    use.writes_parameters("grad", results.grad);
    if (parts) use.writes_parts(results.weight_grads, results.bias_grads);
    use.writes_rows("input_grad", results.input_grad, n, model.inputs());
    use.writes("example_loss", results.example_loss, n * Index(sizeof(double)));
    use.writes("example_grad_norm", results.example_grad_norm, n * Index(sizeof(double)));
    if (cotangent == nullptr && values > 0) {
        use.writes_values("s", results.s, n);
        use.writes_values("x", results.x, n);
        use.writes_values("deltas", results.deltas, n);
    }
    read_data(use, params, data);
    if (cotangent == nullptr) {
        read_targets(use, data);
    } else {
        use.reads("kept", kept, model.kept_size(n) * bytes_per_number);
        use.reads("cotangent", *cotangent);
    }
    use.check();
}

void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const fastbp_tangent& tangent) {
    const Index n = row_range(data).count;
    MemoryUse use(model, bytes_per_number, lists_of(params));
    use.writes_parameters("grad_dot", tangent.grad_dot);
    use.writes_rows("input_grad_dot", tangent.input_grad_dot, n, model.inputs());
    use.writes_rows("output_dot", tangent.output_dot, n, model.outputs());
    read_data(use, params, data);
    use.reads_parameters("params_dot", tangent.params_dot);
    use.reads("x_dot", tangent.x_dot);
    if (tangent.grad_dot != nullptr || tangent.input_grad_dot != nullptr) {
        if (tangent.cotangent.data != nullptr)
            use.reads("cotangent", tangent.cotangent);
        else
            read_targets(use, data);
    }
    use.check();
}

void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const fastbp_epoch& epoch, Index steps, int moments) {
    MemoryUse use(model, bytes_per_number);
    use.writes_parameters("params", params);
    for (int k = 0; k < moments; ++k)
        use.writes("moments", epoch.moments[k], model.parameter_count * bytes_per_number, k);
    use.writes("values", epoch.values, steps * Index(sizeof(double)));
    if (epoch.grad_hook != nullptr) use.writes_parameters("grad", epoch.grad);
    use.reads("lr", epoch.lr, steps * Index(sizeof(double)));
    use.reads("X", data.x);
    if (data.order != nullptr) use.reads("order", data.order, data.count * Index(sizeof *data.order));
    read_targets(use, data);
    use.check();
}

}  // namespace fastbp
