// Capture: what a stream would run is kept, and what CUDA forbids meanwhile is refused and spoils the capture.
#include "streams.hpp"

using namespace cuda_emulation;

namespace {

bool concerns_this_thread(const Capture& capture) {
    if (capture.mode == cudaStreamCaptureModeRelaxed) return false;
    return capture.thread == std::this_thread::get_id() || capture.mode == cudaStreamCaptureModeGlobal;
}

}  // namespace

namespace cuda_emulation {

cudaError_t allowed_under_capture() {
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    cudaError_t allowed = cudaSuccess;
    for (CUstream_st* stream : streams()) {
        if (stream->capture == nullptr || !concerns_this_thread(*stream->capture)) continue;
        stream->capture->broken = true;
        allowed = cudaErrorStreamCaptureUnsupported;
    }
    return allowed;
}

}  // namespace cuda_emulation

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
    if (const cudaError_t there = device_is_there(); there != cudaSuccess) return report(there);
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    if (handle == nullptr || handle == cudaStreamLegacy) return report(cudaErrorStreamCaptureUnsupported);
    CUstream_st* stream = stream_of(handle);
    if (stream == nullptr) return report(cudaErrorInvalidResourceHandle);
    if (stream->capture != nullptr) return report(cudaErrorInvalidValue);
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = handle;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    *graph = nullptr;
    CUstream_st* stream = stream_of(handle);
    if (stream == nullptr) return report(cudaErrorInvalidResourceHandle);
    const std::shared_ptr<Capture> capture = stream->capture;
    if (capture == nullptr) return report(cudaErrorInvalidValue);
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
        return report(cudaErrorStreamCaptureWrongThread);
    if (capture->origin != handle) {
        capture->broken = true;
        return report(cudaErrorStreamCaptureUnmatched);
    }
    stream->capture = nullptr;
    for (cudaStream_t joined : capture->streams)
        if (CUstream_st* other = stream_of(joined); other != nullptr) other->capture = nullptr;
    if (capture->broken) return report(cudaErrorStreamCaptureInvalidated);
    if (!capture->unjoined.empty()) return report(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(capture->work)};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
    const std::lock_guard<std::recursive_mutex> held(stream_lock());
    const CUstream_st* stream = stream_of(handle);
    if (stream == nullptr) return report(cudaErrorInvalidResourceHandle);
    if (handle == nullptr || handle == cudaStreamLegacy)
        for (const CUstream_st* other : streams())
            if (other->capture != nullptr && other->flags != cudaStreamNonBlocking)
                return report(cudaErrorStreamCaptureImplicit);
    *status = stream->capture == nullptr ? cudaStreamCaptureStatusNone
              : stream->capture->broken  ? cudaStreamCaptureStatusInvalidated
                                         : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* recording, cudaGraph_t graph, unsigned long long) {
    if (recording == nullptr || graph == nullptr) return report(cudaErrorInvalidValue);
    *recording = new CUgraphExec_st{std::make_shared<const std::vector<Work>>(graph->work)};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t recording, cudaStream_t stream) {
    if (recording == nullptr) return report(cudaErrorInvalidValue);
    return report(enqueue(stream, [all = recording->work] {
        for (const Work& work : *all) work();
    }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    if (graph == nullptr) return report(cudaErrorInvalidValue);
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t recording) {
    if (recording == nullptr) return report(cudaErrorInvalidValue);
    delete recording;
    return cudaSuccess;
}
