// How cuBLASLt carries out each form of product: as it suggests at first, then as a trial found it to be fastest.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "backend/cuda/library.hpp"
#include "backend/cuda/runtime.hpp"
#include "seam/views.hpp"

namespace fastbp::cuda {

// alpha and beta: in the process with beta = 0, in the process, or on the device.
enum class Scalars { overwriting, blending, on_device };
enum class Epilogue { none, bias, bias_relu };

// The types of a product: those of a and b, that of everything else, and how the sums are done.
struct Arithmetic {
    cudaDataType_t factors, numbers;
    cublasComputeType_t compute;
};

// A matrix as cuBLASLt sees it: columns of numbers next to each other, ld from one to the next.
struct Stored {
    const void* data;
    bool transposed;  // the view is the transpose of what is stored
    Index rows, cols, ld;
};

// All that the choice depends on.
struct Form {
    Index m, n, k;
    bool a_transposed, b_transposed;
    Index a_ld, b_ld, c_ld;
    int a_alignment, b_alignment, c_alignment;
    Scalars scalars;
    Epilogue epilogue;

    bool operator==(const Form&) const = default;
};

// c = alpha a b + beta c with what follows it. c is stored as it is seen.
struct Product {
    Stored a, b;
    void* c;
    Index c_ld;
    const void* alpha;
    const void* beta;
    Scalars scalars;
    Epilogue epilogue;
    const void* bias;  // one number for each row of c, aligned to 16 bytes

    Form form() const noexcept;
};

class Plans {
  public:
    // In the order of the queue, and failing into it; it is told of products that are still to be timed.
    Plans(const Library& lt, const Arithmetic& arithmetic, bool deterministic, Queue& queue) noexcept;
    ~Plans();
    Plans(const Plans&) = delete;
    Plans& operator=(const Plans&) = delete;

    // False where cuBLASLt has no such product. Looks at no number.
    bool offers(const Product& product) noexcept;
    // False, and nothing done, where cuBLASLt has no such product, or it is not known yet whether it has.
    bool run(const Product& product) noexcept;

  private:
    template <class Opaque>
    using Owned = std::unique_ptr<Opaque, cublasStatus_t (*)(Opaque*)>;
    using Description = Owned<std::remove_pointer_t<cublasLtMatmulDesc_t>>;
    using Layout = Owned<std::remove_pointer_t<cublasLtMatrixLayout_t>>;
    using Preference = Owned<std::remove_pointer_t<cublasLtMatmulPreference_t>>;
    using Candidate = cublasLtMatmulHeuristicResult_t;

    // The first candidate is the one in use.
    struct Plan {
        Description description;
        Layout a, b, c;
        std::vector<Candidate> candidates = {};
        int uses = 0;  // outside captures, as far as they matter
    };
    struct Trial;
    struct HashOfForm {
        std::size_t operator()(const Form& form) const noexcept;
    };

    Plan* plan_of(const Product& product) noexcept;  // nullptr where there is no memory for it
    Plan make(const Product& product, const Form& form);
    std::vector<Candidate> candidates_of(const Plan& plan, const Form& form);
    Description describe(const Product& product) noexcept;
    Layout lay_out(cudaDataType_t type, Index rows, Index cols, Index ld) noexcept;
    Preference prefer(const Form& form) noexcept;
    void prepare(const Product& product, Plan& plan) noexcept;
    void choose(const Product& product, Plan& plan) noexcept;
    bool keeps_nan(const Trial& trial, const Plan& plan, const Candidate& candidate) noexcept;
    float milliseconds(const Product& trial, const Plan& plan, const Candidate& candidate) noexcept;
    cublasStatus_t multiply(const Product& product, const Plan& plan, const Candidate& candidate) noexcept;
    std::size_t number_bytes() const { return arithmetic_.numbers == CUDA_R_64F ? sizeof(double) : sizeof(float); }
    bool succeeded(cublasStatus_t status) noexcept;

    const Library& lt_;
    const Arithmetic arithmetic_;
    const bool deterministic_;
    Queue& queue_;
    Failure& failure_;
    cublasLtHandle_t handle_ = nullptr;
    void* workspace_ = nullptr;
    cudaEvent_t begin_ = nullptr, end_ = nullptr;
    std::unordered_map<Form, Plan, HashOfForm> plans_;
};

}  // namespace fastbp::cuda
