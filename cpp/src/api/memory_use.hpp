// The memory that a call reads and writes: outputs must not overlap anything else of a call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "execution/model.hpp"
#include "fastbp/fastbp.h"

namespace fastbp {

// The byte ranges of one call. Nothing is allocated for nets of at most 32 layers.
class MemoryUse {
  public:
    // `lists`: how many lists with an entry for each layer are added.
    MemoryUse(const Model& model, Index bytes_per_number, int lists = 0);

    // NULL or without bytes: nothing. `layer` is shown behind the name if it is not negative.
    void reads(const char* name, const void* memory, Index bytes, std::int32_t layer = -1) {
        add(name, memory, bytes, layer, false);
    }
    void writes(const char* name, const void* memory, Index bytes, std::int32_t layer = -1) {
        add(name, memory, bytes, layer, true);
    }
    // From the first byte of an array to its last; of compressed rows also where they are.
    void reads(const char* name, const fastbp_array& array);
    void reads_parameters(const char* name, const void* memory);
    void writes_parameters(const char* name, const void* memory);
    // n rows of the net's numbers.
    void writes_rows(const char* name, const void* memory, Index n, Index cols);
    // A list of pointers to n rows of each layer; NULL: none.
    void writes_values(const char* name, void* const* list, Index n);
    // Lists of pointers to w(l) and b(l).
    void reads_parts(const void* const* weights, const void* const* biases);
    void writes_parts(void* const* weights, void* const* biases);

    // Throws Error with both names if an output overlaps another range.
    void check();

  private:
    struct Range {
        std::uintptr_t begin, end;
        const char* name;
        std::int32_t layer;
        bool written;
        bool overlaps(const Range& other) const { return (begin < other.end) & (other.begin < end); }
    };

    void add(const char* name, const void* memory, Index bytes, std::int32_t layer, bool written) {
        if (memory == nullptr || bytes <= 0) return;
        const auto begin = reinterpret_cast<std::uintptr_t>(memory);
        ranges_[size_++] = {begin, begin + std::uintptr_t(bytes), name, layer, written};
        outputs_ += written;
    }
    std::span<const Range> ranges() const { return {ranges_, size_}; }
    void check_sorted();
    [[noreturn]] static void refuse(const Range& one, const Range& other);

    static constexpr std::size_t few = 16, most_layers = 32, most_lists = 7;
    const Model& model_;
    const Index number_;
    std::size_t size_ = 0, outputs_ = 0;
    std::array<Range, few + most_lists * most_layers> own_;  // not initialised
    std::unique_ptr<Range[]> more_;                          // in its place for deeper nets
    Range* ranges_;
};

// Throw Error if an output of the call overlaps something else of it. The data have been checked.
void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const void* out, const void* kept);
// `kept` and `cotangent` belong to fastbp_pull_back, and are NULL for fastbp_evaluate, which reads the targets.
void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const void* kept, const fastbp_array* cotangent, const fastbp_results& results);
void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const fastbp_tangent& tangent);
// The epoch has this many steps, and its rule keeps this many moments.
void check_apart(const Model& model, Index bytes_per_number, const void* params, const fastbp_data& data,
                 const fastbp_epoch& epoch, Index steps, int moments);

}  // namespace fastbp
