#define FASTBP_ISA_LOOPS32 loops32_v4
#define FASTBP_ISA_LOOPS64 loops64_v4
#include "backend/cpu/loops_for_isa.hpp"
