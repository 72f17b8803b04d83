// The loops compiled for each instruction set, and the choice among them.
#pragma once

#include "backend/loops/table.hpp"

namespace fastbp::cpu {

struct Isa {
    const char* name;  // "x86-64-v2", "x86-64-v3", "x86-64-v4", or "plain" on other machines
    int vector_bytes;
    const LoopTable<float>* loops32;
    const LoopTable<double>* loops64;

    const LoopTable<float>& loops(float) const { return *loops32; }
    const LoopTable<double>& loops(double) const { return *loops64; }
};

// The best this machine runs, or what FASTBP_ISA names; chosen at the first call. Throws Error where FASTBP_ISA names
// one that does not exist or that this machine cannot run.
const Isa& isa();

}  // namespace fastbp::cpu
