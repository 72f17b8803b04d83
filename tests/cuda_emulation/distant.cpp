#include "distant.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

namespace cuda_emulation {
namespace {

constexpr std::size_t arena_bytes = std::size_t(16) << 30, grain = 4096;

std::mutex lock;
int openings = 0;
std::size_t used = 0;
std::map<std::size_t, std::vector<void*>> returned;  // by size, to be given again

char* arena() {
    static char* const memory =
        static_cast<char*>(mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return memory;
}

void protect(int how) {
    if (used == 0 || mprotect(arena(), used, how) == 0) return;
    std::perror("CUDA emulation: mprotect");
    std::abort();
}

std::size_t rounded(std::size_t bytes) { return (bytes + grain - 1) / grain * grain; }

}  // namespace

bool distant() {
    static const bool asked = [] {
        const char* given = std::getenv("FASTBP_EMULATED_DISTANT");
        return given != nullptr && given[0] == '1';
    }();
    return asked;
}

void* take_distant(std::size_t bytes) {
    const std::lock_guard<std::mutex> held(lock);
    std::vector<void*>& same = returned[rounded(bytes)];
    if (!same.empty()) {
        void* memory = same.back();
        same.pop_back();
        return memory;
    }
    if (arena() == MAP_FAILED || rounded(bytes) > arena_bytes - used) return nullptr;
    char* memory = arena() + used;
    used += rounded(bytes);
    if (openings > 0) protect(PROT_READ | PROT_WRITE);
    return memory;
}

void give_distant(void* memory, std::size_t bytes) {
    const std::lock_guard<std::mutex> held(lock);
    returned[rounded(bytes)].push_back(memory);
}

Opened::Opened() {
    if (!distant()) return;
    const std::lock_guard<std::mutex> held(lock);
    if (openings++ == 0) protect(PROT_READ | PROT_WRITE);
}

Opened::~Opened() {
    if (!distant()) return;
    const std::lock_guard<std::mutex> held(lock);
    if (--openings == 0) protect(PROT_NONE);
}

}  // namespace cuda_emulation
