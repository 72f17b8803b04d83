#include "backend/cpu/isa.hpp"

#include <string>

#include "seam/error.hpp"
#include "system/load_time.hpp"
#include "system/made_once.hpp"

namespace fastbp::cpu {

#if defined(__x86_64__)
extern const LoopTable<float> loops32_v2, loops32_v3, loops32_v4;
extern const LoopTable<double> loops64_v2, loops64_v3, loops64_v4;
#else
extern const LoopTable<float> loops32_baseline;
extern const LoopTable<double> loops64_baseline;
#endif

namespace {

struct Candidate {
    Isa isa;
    bool runs_here;
};

// Best first.
const auto& candidates() {
#if defined(__x86_64__)
    static const Candidate all[] = {
        {{"x86-64-v4", 64, &loops32_v4, &loops64_v4}, __builtin_cpu_supports("x86-64-v4") != 0},
        {{"x86-64-v3", 32, &loops32_v3, &loops64_v3}, __builtin_cpu_supports("x86-64-v3") != 0},
        {{"x86-64-v2", 16, &loops32_v2, &loops64_v2}, __builtin_cpu_supports("x86-64-v2") != 0},
    };
#else
    static const Candidate all[] = {{{"plain", 16, &loops32_baseline, &loops64_baseline}, true}};
#endif
    return all;
}

const Isa& choose() {
    const std::string& wanted = at_load_time().isa;
    const bool forced = !wanted.empty();
    std::string tried;
    for (const Candidate& candidate : candidates()) {
        if (candidate.runs_here && (!forced || wanted == candidate.isa.name)) return candidate.isa;
        tried += std::string(tried.empty() ? "" : ", ") + candidate.isa.name +
                 (candidate.runs_here ? "" : " (not on this machine)");
    }
    if (forced) throw Error(ErrorKind::value, "FASTBP_ISA is '" + wanted + "', expected one of: " + tried);
    throw Error(ErrorKind::runtime, "fastbp needs a processor of one of these levels: " + tried);
}

}  // namespace

const Isa& isa() {
    static constinit MadeOnce<Isa> chosen;
    return chosen.get(choose);
}

}  // namespace fastbp::cpu
