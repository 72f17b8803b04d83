#include "execution/plan.hpp"

#include <algorithm>

namespace fastbp {
namespace {

constexpr Index cache_bytes = Index(1) << 20;  // the part of a core's L2 that a tile's values may fill
constexpr Index least_tile = 32, most_tile = 512;
constexpr Index deterministic_group_rows = 64, deterministic_groups = 16;

}  // namespace

// A tile's values (x and delta of every layer, and the input) fit the cache, unless the weights do not either: then
// each tile streams all weights through the cache, and few large tiles are best.
Plan make_plan(const Model& model, Index rows, std::size_t bytes_per_number) {
    const Index bytes = Index(bytes_per_number);
    const Index per_row = bytes * (model.inputs() + 2 * model.units());
    const bool weights_fit = model.parameter_count * bytes <= cache_bytes;
    const Index fitting = cache_bytes / per_row / 16 * 16;
    Plan plan;
    plan.rows = rows;
    plan.tile =
        std::min(std::max<Index>(rows, 1), weights_fit ? std::clamp(fitting, least_tile, most_tile) : most_tile);
    if (model.deterministic) plan.groups = std::clamp<Index>(rows / deterministic_group_rows, 1, deterministic_groups);
    return plan;
}

}  // namespace fastbp
