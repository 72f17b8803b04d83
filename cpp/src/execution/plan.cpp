#include "execution/plan.hpp"

#include <algorithm>

namespace fastbp {
namespace {

// Constants of a machine of the kind fastbp is measured on; compiled in, so that a plan is the same everywhere.
constexpr double flops_per_second32 = 90e9;  // of one thread in float32 products; half of it in float64
constexpr double bytes_per_second = 12e9;    // of one thread through gradients larger than its cache
constexpr double barrier_seconds = 0.7e-6;   // one meeting of a team
constexpr double start_seconds = 4e-6;       // handing a job to a team that is awake
constexpr double least_gain = 0.9;           // a team must promise this part of the time alone

constexpr Index cache_bytes = Index(1) << 19;  // the part of a core's L2 that a tile's values may fill
constexpr Index least_tile = 32, most_tile = 512;
constexpr Index deterministic_group_rows = 64, deterministic_groups = 16, deterministic_blocks = 8;
constexpr Index deterministic_bytes = Index(1) << 28;  // for the gradient sums of all groups
constexpr Index block_width = 64;                      // columns below which a block of a product no longer pays
constexpr int most_parts = 64;

// A tile's values (x and delta of every layer, and the input) fit the cache, unless the weights do not either: then
// each tile streams all weights through the cache, and few large tiles are best.
Index tile_rows(const Model& model, Index rows, Index bytes) {
    const Index per_row = bytes * (model.inputs() + 2 * model.units());
    const bool weights_fit = model.parameter_count * bytes <= cache_bytes;
    const Index fitting = cache_bytes / per_row / 16 * 16;
    return std::min(std::max<Index>(rows, 1), weights_fit ? std::clamp(fitting, least_tile, most_tile) : most_tile);
}

double seconds_alone(const Model& model, Index rows, Index bytes) {
    return 6.0 * double(rows) * double(model.parameter_count) / (flops_per_second32 * 4 / double(bytes));
}

// Groups have their rows to themselves, then every gradient sum is read once more.
double seconds_by_rows(const Model& model, Index rows, Index bytes, double threads) {
    const double per_group = double(rows) / threads;
    const double thin = 1 + 8 / per_group;  // products of few rows run below their speed
    const double sums = double(model.parameter_count * bytes) * (threads + 2) / threads / bytes_per_second;
    return seconds_alone(model, rows, bytes) / threads * thin + sums + 3 * barrier_seconds + start_seconds;
}

// Every operation ends in a meeting, and narrow layers leave members without a block.
double seconds_together(const Model& model, Index rows, Index bytes, double threads) {
    double products = 0;
    for (const LayerShape& layer : model.layers) {
        const double narrow = std::min(double(layer.outputs), double(layer.inputs));
        const double used = std::clamp(narrow / (double(block_width) / 2), 1.0, threads);
        products += 6.0 * double(rows * layer.inputs * layer.outputs) / used;
    }
    const double meetings = 3.0 * double(model.layers.size()) * double((rows + most_tile - 1) / most_tile);
    return products / (flops_per_second32 * 4 / double(bytes)) * 1.05 + meetings * barrier_seconds + start_seconds;
}

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

}  // namespace

Plan make_plan(const Model& model, Index rows, std::size_t bytes_per_number, int threads) {
    const Index bytes = Index(bytes_per_number);
    Plan plan;
    plan.rows = rows;
    plan.tile = tile_rows(model, rows, bytes);
    if (model.deterministic) {
        cut_deterministically(model, plan, bytes);
        return plan;
    }
    const double alone = seconds_alone(model, rows, bytes);
    const int groups = int(std::clamp<Index>(rows / 8, 1, std::min(threads, most_parts)));
    const int blocks = std::min(threads, most_parts);
    const double by_rows = groups > 1 ? seconds_by_rows(model, rows, bytes, groups) : alone;
    const double together = blocks > 1 ? seconds_together(model, rows, bytes, blocks) : alone;
    if (std::min(by_rows, together) > least_gain * alone) return plan;
    plan.schedule = by_rows <= together ? Schedule::rows : Schedule::cooperative;
    plan.parts = by_rows <= together ? groups : blocks;
    if (plan.schedule == Schedule::cooperative) plan.tile = std::min(std::max<Index>(rows, 1), most_tile);
    return plan;
}

}  // namespace fastbp
