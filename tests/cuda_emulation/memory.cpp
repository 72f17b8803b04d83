// Device memory is memory of the process, so that tests may give their own arrays for it. What cudaMalloc gave is known
// by its place: its first megabyte is full of NaN bytes, a copy that leaves it is refused, and what was written behind
// it shows when it is freed.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <vector>

#include "distant.hpp"
#include "runtime.hpp"

using namespace cuda_emulation;

namespace {

constexpr std::size_t alignment = 256;
constexpr std::size_t filled_bytes = std::size_t(1) << 20;  // a workspace of products that nobody touches costs nothing
#ifdef __SANITIZE_ADDRESS__
constexpr std::size_t fence_bytes = 0;  // the sanitizer has its own
#else
constexpr std::size_t fence_bytes = 256;
#endif
constexpr unsigned char fence_byte = 0xb5;

struct Piece {
    std::size_t bytes;
    cudaMemoryType type;
};

std::mutex lock;
std::map<const char*, Piece> pieces;
std::size_t in_use = 0;
std::atomic<std::size_t> brought_to_host = 0;

using Found = std::map<const char*, Piece>::iterator;

// The piece that the address is in, or end().
Found find(const void* memory) {
    const char* at = static_cast<const char*>(memory);
    Found piece = pieces.upper_bound(at);
    if (piece == pieces.begin()) return pieces.end();
    --piece;
    return at < piece->first + std::max<std::size_t>(piece->second.bytes, 1) ? piece : pieces.end();
}

std::size_t limit() {
    const char* given = std::getenv("FASTBP_EMULATED_GPU_MEMORY");
    return given == nullptr ? std::size_t(8) << 30 : std::size_t(std::strtoull(given, nullptr, 10));
}

cudaError_t allocate(void** memory, std::size_t bytes, cudaMemoryType type) {
    if (memory == nullptr) return cudaErrorInvalidValue;
    *memory = nullptr;
    if (bytes == 0) return cudaSuccess;
    const std::lock_guard<std::mutex> held(lock);
    const bool on_device = type == cudaMemoryTypeDevice;
    if (on_device && (bytes > limit() || in_use > limit() - bytes)) return cudaErrorMemoryAllocation;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    const std::size_t taken = fence_bytes == 0 ? rounded : rounded + fence_bytes;
    *memory = on_device && distant() ? take_distant(taken) : std::aligned_alloc(alignment, taken);
    if (*memory == nullptr) return cudaErrorMemoryAllocation;
    const Opened opened;
    std::memset(*memory, 0xff, std::min(bytes, filled_bytes));
    std::memset(static_cast<char*>(*memory) + bytes, fence_byte, rounded - bytes + fence_bytes);
    pieces[static_cast<char*>(*memory)] = {bytes, type};
    if (on_device) in_use += bytes;
    return cudaSuccess;
}

cudaError_t release(void* memory, cudaMemoryType type) {
    if (memory == nullptr) return cudaSuccess;
    const std::lock_guard<std::mutex> held(lock);
    const Found piece = pieces.find(static_cast<char*>(memory));
    if (piece == pieces.end() || piece->second.type != type) return cudaErrorInvalidValue;
    const std::size_t bytes = piece->second.bytes;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    const Opened opened;
    const auto* fence = static_cast<unsigned char*>(memory) + bytes;
    if (std::any_of(fence, fence + (rounded - bytes) + fence_bytes, [](unsigned char b) { return b != fence_byte; })) {
        std::fprintf(stderr, "CUDA emulation: something was written behind %zu bytes of memory at %p\n", bytes, memory);
        std::abort();
    }
    if (type == cudaMemoryTypeDevice) in_use -= bytes;
    pieces.erase(piece);
    if (type == cudaMemoryTypeDevice && distant())
        give_distant(memory, fence_bytes == 0 ? rounded : rounded + fence_bytes);
    else
        std::free(memory);
    return cudaSuccess;
}

// Whether the bytes lie within one piece, or in memory that is nobody's, where it cannot be known.
bool whole(const void* memory, std::size_t bytes) {
    const Found piece = find(memory);
    if (piece == pieces.end()) return memory != nullptr;
    return static_cast<const char*>(memory) + bytes <= piece->first + piece->second.bytes;
}

cudaMemoryType type_of(const void* memory) {
    const Found piece = find(memory);
    return piece == pieces.end() ? cudaMemoryTypeUnregistered : piece->second.type;
}

// A piece of the wrong kind; memory that is nobody's may stand for either.
bool wrong_way(const void* to, const void* from, cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDefault) return false;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return type_of(to) == (to_device ? cudaMemoryTypeHost : cudaMemoryTypeDevice) ||
           type_of(from) == (from_device ? cudaMemoryTypeHost : cudaMemoryTypeDevice);
}

struct Rows {
    char* to;
    std::size_t to_pitch;
    const char* from;
    std::size_t from_pitch, width, height;

    void copy() const {
        for (std::size_t r = 0; r < height; ++r) std::memmove(to + r * to_pitch, from + r * from_pitch, width);
    }
    std::size_t to_bytes() const { return (height - 1) * to_pitch + width; }
    std::size_t from_bytes() const { return (height - 1) * from_pitch + width; }
};

// As CUDA's copies: from memory of the process that is not locked, the bytes are taken before the call returns; into
// such memory, they are there when it returns.
cudaError_t copy(Rows rows, cudaMemcpyKind kind, cudaStream_t stream) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return there;
    if (rows.width == 0 || rows.height == 0) return cudaSuccess;
    if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) return cudaErrorInvalidMemcpyDirection;
    if (kind == cudaMemcpyDeviceToHost) brought_to_host += rows.width * rows.height;
    bool take_now = false, bring_now = false;
    {
        const std::lock_guard<std::mutex> held(lock);
        if (!whole(rows.to, rows.to_bytes()) || !whole(rows.from, rows.from_bytes())) return cudaErrorInvalidValue;
        if (wrong_way(rows.to, rows.from, kind)) return cudaErrorInvalidValue;
        take_now = kind == cudaMemcpyHostToDevice && type_of(rows.from) == cudaMemoryTypeUnregistered;
        bring_now = kind == cudaMemcpyDeviceToHost && type_of(rows.to) == cudaMemoryTypeUnregistered;
    }
    cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
    if (delayed()) cudaStreamIsCapturing(stream, &capture);
    if (!delayed() || capture != cudaStreamCaptureStatusNone || !take_now) {
        const cudaError_t error = enqueue(stream, [rows] { rows.copy(); });
        if (error == cudaSuccess && bring_now && capture == cudaStreamCaptureStatusNone) finish_work_of(stream);
        return error;
    }
    std::vector<char> taken(rows.from, rows.from + rows.from_bytes());
    return enqueue(stream, [rows, taken = std::move(taken)]() mutable {
        rows.from = taken.data();
        rows.copy();
    });
}

// What waits for the device, or may: not while a stream captures.
cudaError_t waiting(const std::function<cudaError_t()>& call) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    if (const cudaError_t allowed = allowed_under_capture(); allowed != cudaSuccess) return report(allowed);
    return report(call());
}

}  // namespace

std::size_t emulatedBytesToHost() { return brought_to_host; }

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    return waiting([=] { return allocate(memory, bytes, cudaMemoryTypeDevice); });
}

cudaError_t cudaFree(void* memory) {
    return waiting([=] {
        finish_all_work();
        return release(memory, cudaMemoryTypeDevice);
    });
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
    return waiting([=] { return allocate(memory, bytes, cudaMemoryTypeHost); });
}

cudaError_t cudaFreeHost(void* memory) {
    return waiting([=] {
        finish_all_work();
        return release(memory, cudaMemoryTypeHost);
    });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return report(copy({static_cast<char*>(to), bytes, static_cast<const char*>(from), bytes, bytes, 1}, kind, stream));
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    if (to_pitch < width || from_pitch < width) return report(cudaErrorInvalidValue);
    return report(copy({static_cast<char*>(to), to_pitch, static_cast<const char*>(from), from_pitch, width, height},
                       kind, stream));
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    return waiting([=] {
        const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
        finish_work_of(nullptr);
        return error;
    });
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    if (bytes == 0) return cudaSuccess;
    {
        const std::lock_guard<std::mutex> held(lock);
        if (!whole(memory, bytes)) return report(cudaErrorInvalidValue);
    }
    return report(enqueue(stream, [=] { std::memset(memory, value, bytes); }));
}
