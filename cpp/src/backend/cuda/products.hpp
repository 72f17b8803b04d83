// Matrix products by cuBLASLt, in the requested precision.
#pragma once

#include <vector>

#include "backend/cuda/matmul_cache.hpp"
#include "seam/backend.hpp"

namespace fastbp::cuda {

// Device memory that only grows. Smaller blocks are kept to the end, because a
// recording may still use them.
class Scratch {
  public:
    explicit Scratch(Failure& failure) noexcept : failure_(failure) {}
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    void* of(std::size_t bytes) noexcept;  // or nullptr

  private:
    Failure& failure_;
    std::vector<void*> blocks_;
    std::size_t size_ = 0;
};

template <class Real>
class Products {
  public:
    using In = Matrix<const Real>;
    using Out = Matrix<Real>;

    // Products run in the order of the queue, which also gets their failures.
    Products(const Library& lt, const BackendOptions& options, Queue& queue) noexcept;

    // c = alpha a b + beta c. beta = 0 never reads c.
    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept;
    // The same with alpha and beta read on the device when the product runs.
    void gemm_blended(In a, In b, const Blend<Real>* blend_on_device, Out c) noexcept;
    // c = a b + bias, or relu of that. Returns false, and does nothing, if
    // cuBLASLt has no such product.
    bool affine(In a, In b, Vector<const Real> bias, bool relu, Out c) noexcept;

  private:
    bool multiply(In a, In b, Scalars scalars, Out c, Epilogue epilogue = Epilogue::none,
                  const void* bias = nullptr) noexcept;
    void require(bool done) noexcept;
    Stored in_bf16(const Stored& factor, Scratch& scratch) noexcept;
    void round(const Stored& factor, const Stored& rounded) noexcept;

    Queue& queue_;
    const bool rounds_;
    MatmulCache cache_;
    Scratch rounded_a_, rounded_b_;
};

}  // namespace fastbp::cuda
