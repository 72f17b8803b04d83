#define FASTBP_ISA_LOOPS32 loops32_v3
#define FASTBP_ISA_LOOPS64 loops64_v3
#include "backend/cpu/loops_for_isa.hpp"
