// Matrix products by cuBLASLt, in the precision that is asked for.
#pragma once

#include <vector>

#include "backend/cuda/plans.hpp"
#include "seam/backend.hpp"

namespace fastbp::cuda {

// Device memory that only grows. What it was before stays to the end: a recording may use it still.
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

    // In the order of the queue, and failing into it.
    Products(const Library& lt, const BackendOptions& options, Queue& queue) noexcept;

    // c = alpha a b + beta c. beta = 0 never reads c.
    void gemm(Real alpha, In a, In b, Real beta, Out c) noexcept;
    // The same with alpha and beta read on the device when the product runs.
    void gemm_blended(In a, In b, const Blend<Real>* blend_on_device, Out c) noexcept;
    // c = a b + bias, with relu of it where asked for. False, and nothing done, where cuBLASLt has no such product.
    bool affine(In a, In b, Vector<const Real> bias, bool relu, Out c) noexcept;

  private:
    // What is around the product of a and b.
    struct Ends {
        const void* alpha;
        const void* beta;
        Scalars scalars;
        Epilogue epilogue = Epilogue::none;
        const void* bias = nullptr;
    };

    bool multiply(In a, In b, const Ends& ends, Out c) noexcept;
    void require(bool done) noexcept;
    Stored in_bf16(const Stored& factor, Scratch& scratch) noexcept;
    void round(const Stored& factor, const Stored& rounded) noexcept;

    Queue& queue_;
    const bool rounds_;
    Plans plans_;
    Scratch rounded_a_, rounded_b_;
};

}  // namespace fastbp::cuda
