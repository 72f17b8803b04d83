#include "backend/cuda/cuda.hpp"

#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>

#include "backend/cuda/call_lock.hpp"
#include "backend/cuda/kernels/bytes.cuh"
#include "backend/cuda/kernels/dropout.cuh"
#include "backend/cuda/kernels/examples.cuh"
#include "backend/cuda/kernels/magnitudes.cuh"
#include "backend/cuda/kernels/masks.cuh"
#include "backend/cuda/kernels/rows.cuh"
#include "backend/cuda/kernels/tangents.cuh"
#include "backend/cuda/kernels/targets.cuh"
#include "backend/cuda/kernels/updates.cuh"
#include "backend/cuda/library.hpp"
#include "backend/cuda/products.hpp"
#include "backend/cuda/recordings.hpp"
#include "backend/cuda/staging.hpp"
#include "seam/each_number.hpp"

namespace fastbp::cuda {
namespace {

constexpr Shape one_thread{dim3(1), dim3(1)};

// Owns the stream, the scratch memory, and the event that orders this stream and the caller's.
struct OwnQueue : Queue {
    cudaEvent_t reached = nullptr;

    OwnQueue() {
        failure.note(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
        failure.note(cudaEventCreateWithFlags(&reached, cudaEventDisableTiming), "making an event");
        void* memory = nullptr;
        failure.note(cudaMalloc(&memory, scratch_size * sizeof(double)), "allocating memory on the device");
        scratch = static_cast<double*>(memory);
    }
    ~OwnQueue() {
        if (stream != nullptr) cudaStreamSynchronize(stream);
        cudaFree(scratch);
        if (reached != nullptr) cudaEventDestroy(reached);
        if (stream != nullptr) cudaStreamDestroy(stream);
    }

    // All later work on `after` waits for the work that is on `before` now.
    void follow(cudaStream_t before, cudaStream_t after) noexcept {
        failure.note(cudaEventRecord(reached, before), "marking a place in a stream");
        failure.note(cudaStreamWaitEvent(after, reached, 0), "waiting for another stream");
    }
};

template <class Real>
class Cuda final : public Backend<Real> {
  public:
    using typename Backend<Real>::In;
    using typename Backend<Real>::Out;
    using typename Backend<Real>::VectorIn;
    using typename Backend<Real>::VectorOut;
    using typename Backend<Real>::Partials;
    using typename Backend<Real>::G;
    using Loss = LossFunction<Real>;

    Cuda(int ordinal, const BackendOptions& options, const Library& library)
        : ordinal_(ordinal), products_(library, options, queue_), staging_(queue_), recordings_(queue_) {}
    ~Cuda() override {
        calls_.emplace_back(ordinal_, queue_.failure, nullptr);
    }  // the members are destroyed on their device

    // ---- memory and order -------------------------------------------------------------------------------------
    void* allocate(std::size_t bytes) noexcept override {
        const std::lock_guard lock(one_call_);
        const OnDevice here(ordinal_, queue_.failure);
        void* memory = nullptr;
        const cudaError_t error = cudaMalloc(&memory, bytes);
        if (error == cudaSuccess) return memory;
        if (error != cudaErrorMemoryAllocation) queue_.failure.note(error, "allocating memory on the device");
        return nullptr;
    }
    void release(void* memory) noexcept override {
        const std::lock_guard lock(one_call_);
        const OnDevice here(ordinal_, queue_.failure);
        queue_.failure.note(cudaFree(memory), "releasing memory of the device");
    }
    void upload(const void* from, void* to, std::size_t bytes) noexcept override {
        if (bytes <= FewBytes::most) {
            FewBytes few;
            std::memcpy(few.of, from, bytes);
            return queue_.launch(write_bytes, {dim3(1), dim3(block_size)}, few, static_cast<unsigned char*>(to),
                                 unsigned(bytes));
        }
        exchange(from, to, bytes, cudaMemcpyHostToDevice);
    }
    void download(const void* from, void* to, std::size_t bytes) noexcept override {
        exchange(from, to, bytes, cudaMemcpyDeviceToHost);
    }
    void copy_bytes(const void* from, void* to, std::size_t bytes) noexcept override {
        queue_.failure.note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, queue_.stream), "copying");
    }
    ExecutionTraits traits() const noexcept override {
        return {.distant = true, .asynchronous = true, .shares_operations = true, .keeps_rows_compressed = false};
    }

    // A callback of a call may begin another call on the same thread. The inner call may follow another stream. A
    // failure in it fails both calls.
    void begin_call(void* stream) noexcept override {
        one_call_.lock();
        if (calls_.empty()) queue_.failure.clear();
        calls_.emplace_back(ordinal_, queue_.failure, static_cast<cudaStream_t>(stream));
        if (capturing(calls_.back().stream))
            queue_.failure.note(
                "the stream that the call is to follow is captured, and calls cannot be part of a graph");
        else
            queue_.follow(calls_.back().stream, queue_.stream);
    }
    void resume() noexcept override {
        queue_.failure.note(cudaSetDevice(ordinal_), "choosing the device");
        queue_.follow(calls_.back().stream, queue_.stream);
    }
    void end_call() noexcept override {
        if (!capturing(calls_.back().stream)) queue_.follow(queue_.stream, calls_.back().stream);
        calls_.pop_back();
        one_call_.unlock();
    }
    const char* failure() const noexcept override { return queue_.failure.text(); }
    const Failure& first_failure() const noexcept { return queue_.failure; }
    void synchronize() noexcept override {
        queue_.failure.note(cudaStreamSynchronize(queue_.stream), "waiting for the device");
    }
    void replay(Step& step) noexcept override { recordings_.replay(step); }
    void forget(Step& step) noexcept override { recordings_.forget(step); }
    const char* name() const noexcept override { return "cuda"; }

    void load_rows(const RowSource& source, RowRange rows, Out tile) noexcept override { load(source, rows, tile); }
    void load_weights(const RowSource& source, RowRange rows, Matrix<double> tile) noexcept override {
        load(source, rows, tile);
    }
    void load_classes(const RowSource& source, RowRange rows, Vector<std::int32_t> tile) noexcept override {
        load(source, rows, Matrix<std::int32_t>{tile.data, tile.size, 1, 1, 1});
    }
    void clear_masked_rows(Matrix<const double> c, Out m) noexcept override {
        if (!m.empty()) queue_.launch(clear_rows_of_matrix<Real>, over_rows(m.rows), c, m);
    }
    void clear_masked_outputs(Matrix<const double> c, Out m) noexcept override {
        if (!m.empty()) queue_.launch(clear_elements<Real>, over_elements(m), c, m);
    }

    void count_misfits(const RowSource& numbers, const NumberRule& rule, Index* misfits) noexcept override {
        if (!numbers.on_device) {
            *misfits = fastbp::count_misfits(numbers, rule);
            return;
        }
        const Shape shape = over_numbers(numbers.rows);
        double of_block[most_blocks] = {};
        queue_.launch(count_block_misfits, shape, numbers, rule, queue_.scratch);
        download(queue_.scratch, of_block, shape.grid.x * sizeof(double));
        *misfits = Index(std::accumulate(of_block, of_block + shape.grid.x, 0.0));
    }
    void sum_weights(const RowSource& c, RowRange rows, Index batch, double* sums) noexcept override {
        if (!c.on_device) return fastbp::sum_weights(c, rows, batch, sums);
        const Index batches = parts(rows.count, batch);
        for (Index k = 0; k < batches; k += Queue::scratch_size) {
            const Index n = between(0, batches - k, Queue::scratch_size);
            queue_.launch(sum_batches, {dim3(unsigned(n)), dim3(block_size)}, c, rows.block(k * batch, rows.count),
                          batch, queue_.scratch);
            download(queue_.scratch, sums + k, std::size_t(n) * sizeof(double));
        }
    }

    // ---- primitives -------------------------------------------------------------------------------------------
    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept override {
        if (has_numbers(c)) products_.gemm(alpha, a, b, beta, c);
    }
    void activate(G g, VectorIn b, Out s, Out x) noexcept override {
        if (!x.empty()) cuda::activate(queue_, g, b, s, x);
    }
    void multiply_by_derivative(G g, In s, In x, Out delta) noexcept override {
        if (!delta.empty() && g.kind != Activation::identity) times_derivative<Real>(queue_, g, s, x, delta, delta);
    }
    void output_delta(const Loss& loss, G g, In s, In x, const Target<Real>& y, Out delta,
                      LossSlots slots) noexcept override {
        if (!x.empty()) cuda::output_delta(queue_, loss, g, s, x, y, delta, slots);
    }
    void drop(const Dropout& dropout, In from, Out to) noexcept override {
        if (!to.empty()) queue_.launch(drop_elements<Real>, over_elements(to), dropout, from, to);
    }
    void activate_tangent(G g, In s, In x, In s_dot, Out x_dot) noexcept override {
        if (!x_dot.empty()) times_derivative(queue_, g, s, x, s_dot, x_dot);
    }
    void derivative_tangent(G g, In s, In x, In s_dot, In u, Out delta_dot) noexcept override {
        if (!delta_dot.empty()) cuda::derivative_tangent(queue_, g, s, x, s_dot, u, delta_dot);
    }
    void output_delta_tangent(const Loss& loss, G g, In s, In x, const Target<Real>& y, In s_dot, Out delta_dot,
                              Curvature which) noexcept override {
        if (!delta_dot.empty()) cuda::output_delta_tangent(queue_, loss, g, s, x, y, s_dot, delta_dot, which);
    }
    void column_sums(Real alpha, In delta, Real beta, VectorOut b) noexcept override {
        if (!b.empty()) cuda::column_sums(queue_, known(alpha, beta), delta, b);
    }
    void gradient_squares(const Input<Real>& x, In delta, bool accumulate, Vector<double> squares) noexcept override {
        if (!squares.empty())
            queue_.launch(gradient_squares_rows<Real>, over_rows(squares.size), x.dense, delta, accumulate, squares);
    }
    void example_norms(Vector<const double> squares, Vector<const double> c, const double* scale, double limit,
                       Vector<double> norm, Vector<double> factor) noexcept override {
        if (!squares.empty())
            queue_.launch(example_norm_elements, over_numbers(squares.size), squares, c, scale, limit, norm, factor);
    }
    void scale_rows(Vector<const double> factor, Out m) noexcept override {
        if (!m.empty()) queue_.launch(scale_row_elements<Real>, over_elements(m), factor, m);
    }
    void copy(In from, Out to) noexcept override {
        straighten(to, from);
        if (!to.empty()) queue_.launch(copy_elements<Real>, over_elements(to), from, to);
    }
    void add(In from, Out to) noexcept override {
        straighten(to, from);
        if (!to.empty()) queue_.launch(add_elements<Real>, over_elements(to), from, to);
    }
    void reduce(Partials partials, Real beta, VectorOut out) noexcept override {
        if (!out.empty())
            queue_.launch(reduce_elements<Real>, over_numbers(out.size), PartialPointers<Real>(partials), beta, out);
    }
    void add_penalty(double l2, double l1, VectorIn w, VectorOut grad) noexcept override {
        if (!grad.empty()) queue_.launch(penalty_elements<Real>, over_numbers(grad.size), Real(l2), Real(l1), w, grad);
    }
    void sum_of_squares(VectorIn w, const double* largest, double* out) noexcept override {
        sum_of<true>(queue_, w, largest, out);
    }
    void sum_of_magnitudes(VectorIn w, double* out) noexcept override { sum_of<false>(queue_, w, nullptr, out); }
    void clip_factor(const double* squares, const double* largest, double limit, double* factor) noexcept override {
        queue_.launch(one_clip_factor, one_thread, squares, largest, limit, factor);
    }
    void largest_magnitude(In m, double* out) noexcept override {
        if (!m.empty()) cuda::largest_magnitude(queue_, m, out);
    }
    void find_larger(VectorIn v, double limit, Index* place) noexcept override {
        cuda::find_larger(queue_, v, limit, place);
    }
    void clear(double* slot) noexcept override { queue_.launch(clear_one, one_thread, slot); }
    void note_gradient(VectorIn gradient, const Index* place, const Index* entry, Ledger* ledger,
                       StepScalars* now) noexcept override {
        queue_.launch(note_one_gradient<Real>, one_thread, gradient, place, entry, ledger, now);
    }
    void note_loss(Vector<const double> parts, const Index* entry, Ledger* ledger, StepScalars* now) noexcept override {
        queue_.launch(note_one_loss, one_thread, parts, entry, ledger, now);
    }
    void note_penalty(const double* squares, const double* magnitudes, double l2, double l1, const Index* entry,
                      Ledger* ledger) noexcept override {
        queue_.launch(note_one_penalty, one_thread, squares, magnitudes, l2, l1, entry, ledger);
    }
    void update(const StepRule& rule, const StepScalars* now, Partials gradient, VectorOut params,
                std::span<const VectorOut> moments) noexcept override {
        if (!params.empty()) cuda::update(queue_, rule, now, gradient, params, moments);
    }

    // ---- the lecture's equations ------------------------------------------------------------------------------
    // (1)(2): the product adds the bias and applies relu, if nothing needs s without them.
    void affine_activate(const Layer<Real>& layer, const Input<Real>& in, In partial_sum,
                         const LayerValues<Real>& out) noexcept override {
        const bool relu = layer.g.kind == Activation::relu;
        const bool ends_in_s = out.s.data == out.x.data || out.dropout.active();
        if ((relu || layer.g.kind == Activation::identity) && ends_in_s && partial_sum.empty() && has_numbers(out.s) &&
            products_.affine(in.dense, layer.w, layer.b, relu, out.s)) {
            if (out.dropout.active()) drop(out.dropout, out.s, out.x);
        } else {
            Backend<Real>::affine_activate(layer, in, partial_sum, out);
        }
    }

    // (5)(6): the blends are in device memory.
    void accumulate_gradients(const Input<Real>& in, In delta, const LayerSink<Real>& sink) noexcept override {
        if (has_numbers(sink.w)) products_.gemm_blended(in.dense.transposed(), delta, sink.blend_w, sink.w);
        if (!sink.b.empty()) cuda::column_sums(queue_, {{}, sink.blend_b}, delta, sink.b);
    }

  private:
    static bool has_numbers(Out m) { return !m.empty() && m.rows > 0 && m.cols > 0; }
    static BlendArgument<Real> known(Real alpha, Real beta) { return {{alpha, beta}}; }

    template <class To>
    void load(const RowSource& source, RowRange rows, Matrix<To> tile) noexcept {
        if (tile.empty()) return;
        if (source.on_device)
            cuda::load_rows(queue_, source, rows, tile);
        else
            staging_.load_rows(source, rows, tile);
    }
    void exchange(const void* from, void* to, std::size_t bytes, cudaMemcpyKind kind) noexcept {
        queue_.used_host_memory = true;
        queue_.failure.note(cudaMemcpyAsync(to, from, bytes, kind, queue_.stream), "copying");
        synchronize();
    }

    // The device is current from a call's begin to its end. The stream is the caller's.
    struct ActiveCall {
        OnDevice here;
        cudaStream_t stream;
        ActiveCall(int ordinal, Failure& failure, cudaStream_t caller) noexcept
            : here(ordinal, failure), stream(caller) {}
    };

    const int ordinal_;
    std::deque<ActiveCall> calls_;  // under way, each within the one before; destroyed last
    OwnQueue queue_;
    Products<Real> products_;
    Staging staging_;
    Recordings recordings_;

    CallLock one_call_;
};

}  // namespace

template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options, Failure& failure) {
    const OnDevice here(ordinal, failure);
    if (failure.noted()) return nullptr;
    auto backend = std::make_unique<Cuda<Real>>(ordinal, options, *library());
    failure = backend->first_failure();
    if (failure.noted()) return nullptr;
    return backend;
}

template std::unique_ptr<Backend<float>> make_cuda_backend(int, const BackendOptions&, Failure&);
template std::unique_ptr<Backend<double>> make_cuda_backend(int, const BackendOptions&, Failure&);

}  // namespace fastbp::cuda
