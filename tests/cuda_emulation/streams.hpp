// Streams, events and captures as they are kept here.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "runtime.hpp"

namespace cuda_emulation {

using Work = std::function<void()>;

struct Capture {
    cudaStream_t origin = nullptr;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    std::thread::id thread;
    bool broken = false;
    std::vector<Work> work;
    std::set<cudaStream_t> streams, unjoined;  // those that joined it, and those whose work nobody waits for yet
};

// Everything about streams and captures is under one lock, which no work holds while it runs.
std::recursive_mutex& stream_lock();
// The stream that a handle stands for, or nullptr.
CUstream_st* stream_of(cudaStream_t handle);
std::set<CUstream_st*>& streams();

// The place in a stream that an event was last recorded at.
struct EventState {
    std::chrono::steady_clock::time_point time;
    std::atomic<bool> under_way = false;
    bool recorded = false;
    CUstream_st* queue = nullptr;
};

}  // namespace cuda_emulation

struct CUstream_st {
    unsigned flags = 0;
    int device = 0;
    std::size_t pieces_of_work = 0;
    std::shared_ptr<cuda_emulation::Capture> capture;
};

struct CUevent_st {
    unsigned flags = 0;
    int device = 0;
    std::shared_ptr<cuda_emulation::EventState> state = std::make_shared<cuda_emulation::EventState>();
    std::weak_ptr<cuda_emulation::Capture> capture;  // where it was last recorded, if that was under capture
    bool captured = false;
    cudaStream_t stream = nullptr;
    std::size_t after = 0;  // so many pieces of that stream's work
};

struct CUgraph_st {
    std::vector<cuda_emulation::Work> work;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<cuda_emulation::Work>> work;
};
