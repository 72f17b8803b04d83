#define FASTBP_ISA_LOOPS32 loops32_baseline
#define FASTBP_ISA_LOOPS64 loops64_baseline
#include "backend/cpu/loops_for_isa.hpp"
