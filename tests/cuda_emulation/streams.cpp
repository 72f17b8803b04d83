// Streams and events: work runs at once on the thread that enqueues it, or, delayed, as late as streams and events
// allow: what is waited for brings along only what it follows, so that an order that nobody asked for shows.
#include "streams.hpp"

#include <cstdlib>
#include <deque>
#include <map>

#include "distant.hpp"
#include "grid.hpp"

using namespace cuda_emulation;

namespace {

CUstream_st legacy_stream, per_thread_stream;
std::map<CUstream_st*, std::deque<Work>> waiting;
std::recursive_mutex running;  // one piece of delayed work at a time; one that waits for an event runs others first

// The default streams are those of the device that is current.
int device_of(const CUstream_st* stream) {
    return stream == &legacy_stream || stream == &per_thread_stream ? current_device() : stream->device;
}

// The default stream waits for all streams but those that said otherwise, and these for it: they share a queue.
CUstream_st* queue_of(CUstream_st* stream) { return stream->flags == cudaStreamNonBlocking ? stream : &legacy_stream; }

bool run_one(CUstream_st* queue) {
    const std::lock_guard<std::recursive_mutex> alone(running);
    Work next;
    {
        const std::lock_guard<std::recursive_mutex> held(stream_lock());
        const auto found = waiting.find(queue);
        if (found == waiting.end()) return false;
        next = std::move(found->second.front());
        found->second.pop_front();
        if (found->second.empty()) waiting.erase(found);
    }
    const Opened opened;
    next();
    return true;
}

void finish(CUstream_st* queue) {
    while (run_one(queue)) {
    }
}

void finish(const EventState& event) {
    const std::lock_guard<std::recursive_mutex> alone(running);
    while (event.under_way) run_one(event.queue);
}

CUstream_st* waiting_queue() {
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    return waiting.empty() ? nullptr : waiting.rbegin()->first;
}

// The default stream waits for all others but those that said otherwise, which one that captures cannot.
bool waits_for_a_capture(CUstream_st* stream) {
    if (stream != &legacy_stream) return false;
    for (CUstream_st* other : streams()) {
        if (other->capture == nullptr || other->flags == cudaStreamNonBlocking) continue;
        other->capture->broken = true;
        return true;
    }
    return false;
}

cudaError_t may_wait_for(cudaStream_t handle) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return there;
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    CUstream_st* stream = stream_of(handle);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (waits_for_a_capture(stream)) return cudaErrorStreamCaptureImplicit;
    if (stream->capture == nullptr) return allowed_under_capture();
    stream->capture->broken = true;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t new_stream(cudaStream_t* stream, unsigned flags) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    if (flags > cudaStreamNonBlocking) return report(cudaErrorInvalidValue);
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    *stream = new CUstream_st{flags, current_device(), 0, nullptr};
    streams().insert(*stream);
    return cudaSuccess;
}

}  // namespace

namespace cuda_emulation {

std::recursive_mutex& stream_lock() {
    static std::recursive_mutex lock;
    return lock;
}

std::set<CUstream_st*>& streams() {
    static std::set<CUstream_st*> all;
    return all;
}

CUstream_st* stream_of(cudaStream_t handle) {
    if (handle == nullptr || handle == cudaStreamLegacy) return &legacy_stream;
    if (handle == cudaStreamPerThread) return &per_thread_stream;
    return streams().count(handle) != 0 ? handle : nullptr;
}

bool delayed() {
    const char* given = std::getenv("FASTBP_EMULATED_DELAY");
    return given != nullptr && given[0] == '1';
}

cudaError_t enqueue(cudaStream_t handle, Work work) {
    {
        const std::lock_guard<std::recursive_mutex> held(stream_lock());
        CUstream_st* stream = stream_of(handle);
        if (stream == nullptr) return cudaErrorInvalidResourceHandle;
        if (waits_for_a_capture(stream)) return cudaErrorStreamCaptureImplicit;
        ++stream->pieces_of_work;
        if (stream->capture != nullptr) {
            if (stream->capture->broken) return cudaErrorStreamCaptureInvalidated;
            stream->capture->work.push_back(std::move(work));
            if (stream != stream->capture->origin) stream->capture->unjoined.insert(stream);
            return cudaSuccess;
        }
        if (delayed()) {
            waiting[queue_of(stream)].push_back(std::move(work));
            return cudaSuccess;
        }
    }
    finish_all_work();  // of a time when work was delayed
    const Opened opened;
    work();
    return cudaSuccess;
}

void finish_all_work() {
    while (CUstream_st* queue = waiting_queue()) finish(queue);
}

void finish_work_of(cudaStream_t handle) {
    CUstream_st* queue = nullptr;
    {
        const std::lock_guard<std::recursive_mutex> held(stream_lock());
        CUstream_st* stream = stream_of(handle);
        if (stream == nullptr) return;
        queue = queue_of(stream);
    }
    finish(queue);
}

cudaError_t launch(const cudaLaunchConfig_t& config, std::size_t argument_bytes, const void* shared, Work thread) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    const dim3 grid = config.gridDim, block = config.blockDim;
    const bool fits = grid.x >= 1 && grid.x <= 0x7fffffffU && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 &&
                      grid.z <= 65535 && block.x >= 1 && block.x <= 1024 && block.y >= 1 && block.y <= 1024 &&
                      block.z >= 1 && block.z <= 64 && block.x * block.y * block.z <= 1024;
    if (!fits) return report(cudaErrorInvalidConfiguration);
    if (argument_bytes > 4096 || config.dynamicSmemBytes != 0) return report(cudaErrorInvalidValue);
    {
        const std::lock_guard<std::recursive_mutex> held(stream_lock());
        const CUstream_st* stream = stream_of(config.stream);
        if (stream == nullptr || device_of(stream) != current_device()) return report(cudaErrorInvalidResourceHandle);
    }
    return report(enqueue(config.stream, [launch = Launch{grid, block, shared, std::move(thread)}] { run(launch); }));
}

}  // namespace cuda_emulation

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return new_stream(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) { return new_stream(stream, flags); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    finish_work_of(stream);
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    if (streams().erase(stream) == 0) return report(cudaErrorInvalidResourceHandle);
    if (stream->capture != nullptr) stream->capture->broken = true;
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (const cudaError_t error = may_wait_for(stream); error != cudaSuccess) return report(error);
    finish_work_of(stream);
    return cudaSuccess;
}

// Under capture a stream joins the capture of the event that it waits for.
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
    std::unique_lock<std::recursive_mutex> held(stream_lock());
    CUstream_st* stream = stream_of(handle);
    if (stream == nullptr || event == nullptr) return report(cudaErrorInvalidResourceHandle);
    const std::shared_ptr<Capture> capture = event->capture.lock();
    if (!event->captured || capture == nullptr) {
        if (!event->state->recorded) return cudaSuccess;
        if (stream->capture == nullptr) {
            held.unlock();
            return report(enqueue(handle, [state = event->state] { finish(*state); }));
        }
        stream->capture->broken = true;
        return report(cudaErrorStreamCaptureIsolation);
    }
    if (stream->capture == nullptr) {
        stream->capture = capture;
        capture->streams.insert(stream);
    } else if (stream->capture != capture) {
        stream->capture->broken = capture->broken = true;
        return report(cudaErrorStreamCaptureIsolation);
    }
    CUstream_st* recorded = stream_of(event->stream);
    if (recorded != nullptr && recorded->pieces_of_work == event->after) capture->unjoined.erase(recorded);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    *event = new CUevent_st;
    (*event)->flags = flags;
    (*event)->device = current_device();
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event == nullptr) return report(cudaErrorInvalidResourceHandle);
    delete event;
    return cudaSuccess;
}

// What waited for the place that the event stood for until now waits for that still.
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
    const auto state = std::make_shared<EventState>();
    {
        const std::lock_guard<std::recursive_mutex> held(stream_lock());
        CUstream_st* stream = stream_of(handle);
        if (stream == nullptr || event->device != device_of(stream)) return report(cudaErrorInvalidResourceHandle);
        event->captured = stream->capture != nullptr;
        event->capture = stream->capture;
        event->stream = handle;
        event->after = stream->pieces_of_work;
        if (event->captured) return cudaSuccess;
        state->recorded = state->under_way = true;
        state->queue = queue_of(stream);
        event->state = state;
    }
    const cudaError_t error = enqueue(handle, [state] {
        state->time = std::chrono::steady_clock::now();
        state->under_way = false;
    });
    if (error != cudaSuccess) state->under_way = false;
    return report(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (event->captured) return report(cudaErrorCapturedEvent);
    if (const cudaError_t allowed = allowed_under_capture(); allowed != cudaSuccess) return report(allowed);
    finish(*event->state);
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    for (const cudaEvent_t event : {begin, end})
        if (!event->state->recorded || (event->flags & cudaEventDisableTiming) != 0)
            return report(cudaErrorInvalidResourceHandle);
    if (begin->state->under_way || end->state->under_way) return report(cudaErrorNotReady);
    *milliseconds = std::chrono::duration<float, std::milli>(end->state->time - begin->state->time).count();
    return cudaSuccess;
}
