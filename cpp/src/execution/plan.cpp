#include "execution/plan.hpp"

#include <algorithm>

#include "backend/make_backend.hpp"

namespace fastbp {
namespace {

// A processor as plans take it to be: of each instruction set one of the kind that fastbp is measured on, two cores of
// a Sapphire Rapids and of a Zen 3. Compiled in, so that a plan is the same on all that have it.
struct Processor {
    double flops_per_second32;  // of one thread in float32 products; half of it in float64
    Index cache_bytes;          // the part of a core's L2 that a tile's values may fill
};

const Processor& processor() {
    static constexpr Processor wide{160e9, Index(1) << 19}, usual{80e9, Index(1) << 18}, old{30e9, Index(1) << 18};
    const int bytes = cpu_vector_bytes();
    return bytes == 64 ? wide : bytes == 32 ? usual : old;
}

constexpr double thin = 6;                       // products of so few rows run at half their speed
constexpr double sums_bytes_per_second = 16e9;   // of one thread through gradient sums that another has written
constexpr double shared_bytes_per_second = 8e9;  // of cache lines that go back and forth between processors
constexpr double barrier_seconds = 1e-6;         // with the wait for a member that is late
constexpr double start_seconds = 3e-6;           // handing a job to a team that is awake
constexpr double compressed_cost = 16;           // a number of compressed rows takes the time of so many dense ones
constexpr double least_gain = 0.9;               // a team must promise this part of the time alone

constexpr Index least_tile = 32, most_tile = 512;
constexpr Index deterministic_group_rows = 64, deterministic_groups = 16, deterministic_blocks = 8;
constexpr Index deterministic_bytes = Index(1) << 28;  // for the gradient sums of all groups
constexpr Index block_width = 64;                      // columns below which a block of a product no longer pays
constexpr Index device_bytes = Index(1) << 30;         // that a tile's values may take there

// A tile's values (x and delta of every layer, and the input) fit the cache, unless the weights do not either: then
// each tile streams all weights through the cache, and few large tiles are best.
Index tile_rows(const Model& model, Index rows, Index bytes) {
    const Index per_row = bytes * (model.inputs() + 2 * model.units());
    const Index cache = processor().cache_bytes;
    const bool weights_fit = model.parameter_count * bytes <= cache;
    const Index fitting = cache / per_row / 16 * 16;
    return std::min(std::max<Index>(rows, 1), weights_fit ? std::clamp(fitting, least_tile, most_tile) : most_tile);
}

double seconds_of_products(double flops, Index rows, Index bytes) {
    return flops / (processor().flops_per_second32 * 4 / double(bytes)) * (1 + thin / double(std::max<Index>(rows, 1)));
}

// Products of rows with w in each layer. The first layer needs no delta of its input.
struct Products {
    double of_layer, of_first;

    explicit Products(Work work)
        : of_layer(work == Work::forward    ? 1
                   : work == Work::backward ? 2
                                            : 3),
          of_first(of_layer > 1 ? of_layer - 1 : 1) {}
};

// What the estimates below are made of.
struct Estimate {
    const Model& model;
    const PlanRequest& request;
    Index bytes = Index(request.bytes_per_number);
    Products products{request.work};
    bool writes_gradients = request.work != Work::forward;

    // `inputs`: how many inputs of dense rows would take the time of these rows.
    double flops(Index rows) const {
        const LayerShape& first = model.layers.front();
        const double inputs =
            request.kept_per_row > 0 ? compressed_cost * double(request.kept_per_row) : double(model.inputs());
        const double rest = double(model.parameter_count - first.inputs * first.outputs);
        return 2 * double(rows) * (products.of_layer * rest + products.of_first * inputs * double(first.outputs));
    }

    double seconds_alone(Index rows) const { return seconds_of_products(flops(rows), rows, bytes); }

    // Groups have their rows to themselves, then every gradient sum is read once more.
    double seconds_by_rows(double threads) const {
        const double read = double(model.parameter_count * bytes) * (threads + 2) / threads;
        return seconds_alone(Index(double(request.rows) / threads)) +
               (writes_gradients ? read / sums_bytes_per_second : 0) + 3 * barrier_seconds + start_seconds;
    }

    // Every layer's values are exchanged, and its w too if it is written and not cut by rows. Narrow layers leave
    // members without a block.
    double seconds_together(const Plan& plan) const {
        const double members = plan.parts, exchanged = (members - 1) / members;
        const double values = writes_gradients ? 2 : 1;  // x and delta, or x
        double seconds = start_seconds;
        for (const LayerShape& layer : model.layers) {
            const double w = double(layer.inputs * layer.outputs);
            const double of_this = &layer == &model.layers.front() ? products.of_first : products.of_layer;
            const double blocks = double(std::max(layer.inputs, layer.outputs)) / double(Plan::grain);
            const bool exchanges_w = writes_gradients && !plan.cuts_inner(layer.inputs);
            const double shared = values * double(plan.rows * layer.outputs) * exchanged + (exchanges_w ? w : 0);
            seconds += seconds_of_products(2 * of_this * double(plan.rows) * w, plan.rows, bytes) /
                           std::clamp(blocks, 1.0, members) +
                       shared * double(bytes) / shared_bytes_per_second + 3 * barrier_seconds;
        }
        return seconds;
    }
};

// The same for any number of threads: groups of many rows, or blocks where rows are few or gradients large.
void cut_deterministically(const Model& model, Plan& plan, Index bytes) {
    const Index affordable = std::max<Index>(deterministic_bytes / (model.parameter_count * bytes), 1);
    const Index groups =
        std::clamp<Index>(plan.rows / deterministic_group_rows, 1, std::min(deterministic_groups, affordable));
    Index widest = 0;
    for (const LayerShape& layer : model.layers) widest = std::max(widest, layer.outputs);
    const Index blocks = std::clamp<Index>(widest / block_width, 1, deterministic_blocks);
    const bool few_rows = plan.rows * 8 < model.parameter_count / std::max<Index>(widest, 1);
    plan.schedule = (groups < 4 || few_rows) && blocks > 1 ? Schedule::cooperative : Schedule::rows;
    plan.parts = int(plan.schedule == Schedule::rows ? groups : blocks);
}

Plan in_groups(Plan plan, int threads) {
    plan.parts = int(std::clamp<Index>(plan.rows / 8, 1, std::min(threads, Plan::most_parts)));
    return plan;
}

Plan in_blocks(Plan plan, int threads) {
    plan.schedule = Schedule::cooperative;
    plan.parts = std::min(threads, Plan::most_parts);
    plan.tile = std::min(std::max<Index>(plan.rows, 1), most_tile);
    return plan;
}

}  // namespace

Plan make_plan(const Model& model, const PlanRequest& request) {
    const Estimate estimate{model, request};
    Plan plan;
    plan.rows = request.rows;
    plan.tile = tile_rows(model, request.rows, estimate.bytes);
    const double alone = plan.seconds_alone = estimate.seconds_alone(request.rows);
    if (model.deterministic) {
        cut_deterministically(model, plan, estimate.bytes);
        return plan;
    }
    const Plan groups = in_groups(plan, request.threads), blocks = in_blocks(plan, request.threads);
    const double by_rows = groups.parts > 1 ? estimate.seconds_by_rows(groups.parts) : alone;
    // Compressed rows cannot be cut by columns, and w between them would go back and forth.
    const bool shares = blocks.parts > 1 && request.kept_per_row == 0;
    const double together = shares ? estimate.seconds_together(blocks) : alone;
    if (std::min(by_rows, together) > least_gain * alone) return plan;
    return by_rows <= together ? groups : blocks;
}

Plan make_device_plan(const Model& model, const PlanRequest& request) {
    const Index per_row = Index(request.bytes_per_number) * (model.inputs() + model.outputs() + 3 * model.units());
    Plan plan;
    plan.rows = request.rows;
    plan.tile = std::clamp<Index>(device_bytes / per_row, 1, std::max<Index>(request.rows, 1));
    return plan;
}

}  // namespace fastbp
