// The order of a backend's work: calls, recorded steps, and waiting. An asynchronous backend only enqueues operations,
// in the order of the calls.
#pragma once

namespace fastbp {

// A step that `replay` runs repeatedly on the same views. Operations read all numbers that change from slots when they
// run. `runs` and `recording` belong to the backend.
struct Step {
    int runs = 0;
    void* recording = nullptr;
    virtual void run() noexcept = 0;

  protected:
    ~Step() = default;
};

class Queue {
  public:
    virtual ~Queue() = default;

    // Enclose all operations of a call. The operations run after the work on the caller's stream, and operations of
    // other threads wait.
    virtual void begin_call(void* stream) noexcept { static_cast<void>(stream); }
    virtual void end_call() noexcept {}
    // Called after a callback within a call: the next operations run after the work that it enqueued on the stream.
    virtual void resume() noexcept {}
    // The first error since begin_call, or nullptr. Does not wait.
    virtual const char* failure() const noexcept { return nullptr; }
    // Runs the step. A backend may replay a recording of an earlier run instead, until `forget`.
    virtual void replay(Step& step) noexcept { step.run(); }
    virtual void forget(Step& step) noexcept { static_cast<void>(step); }
    // Waits until all enqueued operations are complete.
    virtual void synchronize() noexcept {}
};

}  // namespace fastbp
