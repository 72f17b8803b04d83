#include "backend/cuda/products.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <type_traits>

#include "backend/cuda/kernels/products.cuh"

namespace fastbp::cuda {
namespace {

// Only float32 has a choice.
template <class Real>
Arithmetic arithmetic_of(Precision precision) {
    if constexpr (std::is_same_v<Real, double>) return {CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F};
    if (precision == Precision::bf16) return {CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F};
    if (precision == Precision::tf32) return {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
    return {CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F};
}

// True if the rows of a view are contiguous. A single row or column may have
// any stride.
template <class T>
bool by_rows(Matrix<T> m) {
    return m.cols > 1 ? m.col_stride == 1 : m.row_stride != 1;
}

template <class T>
Stored stored(Matrix<T> m) {
    const bool transposed = by_rows(m);
    const Matrix<T> columns = transposed ? m.transposed() : m;
    return {columns.data, transposed, columns.rows, columns.cols, columns.cols > 1 ? columns.col_stride : columns.rows};
}

template <class Real>
void scale(Queue& queue, BlendArgument<Real> blend, Matrix<Real> c) {
    if (c.empty() || c.rows == 0 || c.cols == 0) return;
    straighten(c);
    queue.launch(scale_elements<Real>, over_elements(c), blend, c);
}

}  // namespace

Scratch::~Scratch() {
    for (void* block : blocks_) cudaFree(block);
}

void* Scratch::of(std::size_t bytes) noexcept try {
    if (bytes <= size_) return blocks_.back();
    blocks_.reserve(blocks_.size() + 1);
    const std::size_t size = std::max(bytes, 2 * size_);
    void* block = nullptr;
    const cudaError_t error = cudaMalloc(&block, size);
    failure_.note(error, "allocating memory for products in bfloat16");
    if (error != cudaSuccess) return nullptr;
    blocks_.push_back(block);
    size_ = size;
    return block;
} catch (const std::bad_alloc&) {
    failure_.note("no memory for products in bfloat16");
    return nullptr;
}

template <class Real>
Products<Real>::Products(const Library& lt, const BackendOptions& options, Queue& queue) noexcept
    : queue_(queue),
      rounds_(std::is_same_v<Real, float> && options.precision == Precision::bf16),
      cache_(lt, arithmetic_of<Real>(options.precision), options.deterministic, queue),
      rounded_a_(queue.failure),
      rounded_b_(queue.failure) {}

template <class Real>
void Products<Real>::gemm(Real alpha, In a, In b, Real beta, Out c) noexcept {
    if (a.cols == 0) return scale(queue_, BlendArgument<Real>{{alpha, beta}}, c);
    require(multiply(a, b, {&alpha, &beta, beta == 0 ? ScalarMode::overwriting : ScalarMode::blending}, c));
}

template <class Real>
void Products<Real>::gemm_blended(In a, In b, const Blend<Real>* blend_on_device, Out c) noexcept {
    if (a.cols == 0) return scale(queue_, BlendArgument<Real>{{}, blend_on_device}, c);
    require(multiply(a, b, {&blend_on_device->alpha, &blend_on_device->beta, ScalarMode::on_device}, c));
}

template <class Real>
bool Products<Real>::affine(In a, In b, Vector<const Real> bias, bool relu, Out c) noexcept {
    // cuBLASLt adds the bias down its columns, which are our rows, and reads it
    // sixteen bytes at a time.
    const bool aligned = reinterpret_cast<std::uintptr_t>(bias.data) % 16 == 0;
    if (bias.empty() || !aligned || a.cols == 0 || !by_rows(c)) return false;
    const Real alpha = 1, beta = 0;
    const Epilogue epilogue = relu ? Epilogue::bias_relu : Epilogue::bias;
    return multiply(a, b, {&alpha, &beta, ScalarMode::overwriting}, c, epilogue, bias.data);
}

// cuBLASLt stores columns, so a result that is stored by rows is computed as
// c^T = b^T a^T.
template <class Real>
bool Products<Real>::multiply(In a, In b, Scalars scalars, Out c, Epilogue epilogue, const void* bias) noexcept {
    if (c.empty() || c.rows == 0 || c.cols == 0) return true;
    if (by_rows(c)) {
        std::swap(a, b);
        a = a.transposed();
        b = b.transposed();
        c = c.transposed();
    }
    const Stored from_a = stored(a), from_b = stored(b);
    Product product{from_a, from_b, c.data, c.cols > 1 ? c.col_stride : c.rows, scalars, epilogue, bias};
    if (rounds_) {
        product.a = in_bf16(from_a, rounded_a_);
        product.b = in_bf16(from_b, rounded_b_);
        if (product.a.data == nullptr || product.b.data == nullptr || !cache_.offers(product)) return false;
        round(from_a, product.a);
        round(from_b, product.b);
    }
    return cache_.run(product);
}

template <class Real>
void Products<Real>::require(bool done) noexcept {
    if (!done) queue_.failure.note("cuBLASLt has no algorithm for a product of these sizes and strides");
}

// The memory of a factor's rounded copy. Its columns begin at multiples of 16
// bytes.
template <class Real>
Stored Products<Real>::in_bf16(const Stored& factor, Scratch& scratch) noexcept {
    const Index ld = (factor.rows + 7) / 8 * 8;
    void* copy = scratch.of(std::size_t(ld * factor.cols) * sizeof(std::uint16_t));
    return {copy, factor.transposed, factor.rows, factor.cols, ld};
}

template <class Real>
void Products<Real>::round(const Stored& factor, const Stored& rounded) noexcept {
    auto* copy = static_cast<std::uint16_t*>(const_cast<void*>(rounded.data));
    const Matrix<const float> from{static_cast<const float*>(factor.data), factor.cols, factor.rows, factor.ld, 1};
    const Matrix<std::uint16_t> to{copy, rounded.cols, rounded.rows, rounded.ld, 1};
    queue_.launch(round_elements_to_bf16, over_elements(to), from, to);
}

template class Products<float>;
template class Products<double>;

}  // namespace fastbp::cuda
