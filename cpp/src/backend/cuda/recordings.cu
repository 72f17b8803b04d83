#include "backend/cuda/recordings.hpp"

namespace fastbp::cuda {

Recordings::Recordings(Queue& queue) noexcept : queue_(queue) {
    for (cudaEvent_t& event : done_)
        queue.failure.note(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "making an event");
}

Recordings::~Recordings() {
    for (cudaEvent_t event : done_)
        if (event != nullptr) cudaEventDestroy(event);
}

void Recordings::replay(Step& step) noexcept {
    turn_ = (turn_ + 1) % most_under_way;
    queue_.failure.note(cudaEventSynchronize(done_[turn_]), "waiting for an earlier step");
    run(step);
    queue_.failure.note(cudaEventRecord(done_[turn_], queue_.stream), "noting the end of a step");
}

void Recordings::run(Step& step) noexcept {
    if (step.runs == 0) {
        queue_.used_host_memory = queue_.untimed = false;
        step.run();
        if (!queue_.untimed) step.runs = queue_.used_host_memory ? decided : seen;
        return;
    }
    if (step.runs == seen) record(step);
    if (step.recording == nullptr) return step.run();
    queue_.failure.note(cudaGraphLaunch(static_cast<cudaGraphExec_t>(step.recording), queue_.stream),
                        "running a recorded step");
}

// Recording runs no work on the device, so its failures are cleared and the step runs unrecorded.
void Recordings::record(Step& step) noexcept {
    step.runs = decided;
    if (queue_.failure.noted()) return;
    if (cudaStreamBeginCapture(queue_.stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return;
    step.run();
    cudaGraph_t graph = nullptr;
    const bool whole = cudaStreamEndCapture(queue_.stream, &graph) == cudaSuccess && !queue_.failure.noted();
    queue_.failure.clear();
    cudaGraphExec_t recording = nullptr;
    if (whole && cudaGraphInstantiate(&recording, graph, 0) == cudaSuccess) step.recording = recording;
    if (graph != nullptr) cudaGraphDestroy(graph);
}

void Recordings::forget(Step& step) noexcept {
    if (step.recording != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(step.recording));
    step.recording = nullptr;
    step.runs = 0;
}

}  // namespace fastbp::cuda
