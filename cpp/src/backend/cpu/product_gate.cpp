#include "backend/cpu/product_gate.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace fastbp::cpu {
namespace {

constexpr std::chrono::microseconds pause{50};
// A product takes milliseconds. Exit and fork do not wait for ever for a thread that a debugger has stopped.
constexpr std::chrono::seconds longest_wait{10};
// For what other threads allocate between the check and the library's allocation.
constexpr std::size_t reserve_bytes = std::size_t(4) << 20;
constexpr std::size_t smallest_buffer = std::size_t(32) << 20;

// The size of the process's address space in pages; 0 if unknown. Allocates nothing.
std::size_t mapped_pages() {
    const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    char text[32] = {};
    const auto length = ::read(file, text, sizeof text - 1);
    ::close(file);
    return length <= 0 ? 0 : std::strtoull(text, nullptr, 10);
}

}  // namespace

bool memory_is_available(std::size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    munmap(memory, bytes);
    return true;
}

ProductGate& ProductGate::get() {
    static constinit ProductGate gate;
    return gate;
}

void ProductGate::open(std::size_t buffer_bytes) {
    buffer_bytes_ = buffer_bytes;
    buffers_.store(buffer_bytes == 0 ? unlimited : 1, std::memory_order_release);
    // The handler runs before the destructors of the library, which has been loaded before.
    std::atexit([] { get().close_for_exit(); });
}

void ProductGate::Pass::enter_slowly() noexcept {
    auto& state = gate_.state_;
    std::size_t seen = state.fetch_sub(1, std::memory_order_relaxed) - 1;
    for (;; seen = state.load(std::memory_order_relaxed)) {
        if ((seen & exits) != 0) {
            admitted_ = false;
            return;
        }
        const std::size_t limit = gate_.buffers_.load(std::memory_order_relaxed);
        if ((seen & all_forks) == 0 && (seen & count) < limit &&
            state.compare_exchange_strong(seen, seen + 1, std::memory_order_acquire))
            return;
        // One thread may go beyond the limit, and only if no other is about to.
        if ((seen & (all_forks | grows)) == 0 && (seen & count) == limit &&
            state.compare_exchange_strong(seen, (seen + 1) | grows, std::memory_order_acquire)) {
            grows_ = true;
            pages_before_ = mapped_pages();
            if (memory_is_available(gate_.buffer_bytes_ + reserve_bytes)) return;
            grows_ = false;
            state.fetch_sub(grows + 1, std::memory_order_relaxed);
        }
        std::this_thread::sleep_for(pause);
    }
}

void ProductGate::Pass::leave_after_growth() noexcept {
    // The library took a buffer of another product if that ended in time.
    const std::size_t pages = mapped_pages(), page = std::size_t(sysconf(_SC_PAGESIZE));
    if (pages == 0 || pages >= pages_before_ + smallest_buffer / 2 / page)
        gate_.buffers_.fetch_add(1, std::memory_order_relaxed);
    gate_.state_.fetch_sub(grows + 1, std::memory_order_release);
}

void ProductGate::wait_for_others() const noexcept {
    const auto end = std::chrono::steady_clock::now() + longest_wait;
    while ((state_.load(std::memory_order_acquire) & count) > passes_of_this_thread &&
           std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(pause);
}

void ProductGate::begin_fork() {
    state_.fetch_add(forks, std::memory_order_relaxed);
    wait_for_others();
}

void ProductGate::end_fork_in_parent() { state_.fetch_sub(forks, std::memory_order_relaxed); }
void ProductGate::end_fork_in_child() { state_.store(passes_of_this_thread, std::memory_order_relaxed); }

void ProductGate::close_for_exit() {
    state_.fetch_or(exits, std::memory_order_relaxed);
    wait_for_others();
}

namespace {

// Registered when the library is loaded: a handler that is registered during a fork may not run.
[[maybe_unused]] const int registered =
    pthread_atfork([] { ProductGate::get().begin_fork(); }, [] { ProductGate::get().end_fork_in_parent(); },
                   [] { ProductGate::get().end_fork_in_child(); });

}  // namespace

}  // namespace fastbp::cpu
