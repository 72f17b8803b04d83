// Included by one source file for each instruction set, which names its two tables and is compiled with its flags.
#include "backend/loops/make_table.hpp"

namespace fastbp::cpu {

extern const LoopTable<float> FASTBP_ISA_LOOPS32;
extern const LoopTable<double> FASTBP_ISA_LOOPS64;
constexpr LoopTable<float> FASTBP_ISA_LOOPS32 = loops::make_table<true, float>();
constexpr LoopTable<double> FASTBP_ISA_LOOPS64 = loops::make_table<true, double>();

}  // namespace fastbp::cpu
