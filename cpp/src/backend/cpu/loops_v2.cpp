#define FASTBP_ISA_LOOPS32 loops32_v2
#define FASTBP_ISA_LOOPS64 loops64_v2
#include "backend/cpu/loops_for_isa.hpp"
