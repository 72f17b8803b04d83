#include "system/affinity.hpp"

#include <sched.h>

namespace fastbp {
namespace {

auto* as_set(const auto& words) { return reinterpret_cast<const cpu_set_t*>(words.data()); }
auto* as_set(auto& words) { return reinterpret_cast<cpu_set_t*>(words.data()); }

}  // namespace

Affinity Affinity::of_this_thread() {
    Affinity mask;
    for (const std::size_t bytes : {sizeof(cpu_set_t), sizeof mask.words_}) {
        if (sched_getaffinity(0, bytes, as_set(mask.words_)) != 0) continue;
        mask.bytes_ = bytes;
        break;
    }
    return mask;
}

int Affinity::count() const { return bytes_ == 0 ? 0 : CPU_COUNT_S(bytes_, as_set(words_)); }

bool Affinity::apply() const { return bytes_ != 0 && sched_setaffinity(0, bytes_, as_set(words_)) == 0; }

Affinity Affinity::current_processor_only() const {
    Affinity one;
    const int processor = sched_getcpu();
    if (processor < 0 || std::size_t(processor) >= 8 * bytes_) return one;
    one.bytes_ = bytes_;
    CPU_SET_S(std::size_t(processor), bytes_, as_set(one.words_));
    return one;
}

}  // namespace fastbp
