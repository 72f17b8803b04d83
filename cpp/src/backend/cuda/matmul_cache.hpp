// The algorithms that cuBLASLt uses for products of each kind: at first the one
// it suggests, later the fastest one of a trial.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "backend/cuda/library.hpp"
#include "backend/cuda/runtime.hpp"
#include "seam/views.hpp"

namespace fastbp::cuda {

// alpha and beta lie in the process, with beta = 0 or any beta, or on the
// device.
enum class ScalarMode { overwriting, blending, on_device };
struct Scalars {
    const void* alpha;
    const void* beta;
    ScalarMode mode;
};

// What cuBLASLt does after the product.
enum class Epilogue { none, bias, bias_relu };

// The types of a product: of a and b, of all other numbers, and of the sums.
struct Arithmetic {
    cudaDataType_t factors, numbers;
    cublasComputeType_t compute;
};

// A matrix as cuBLASLt sees it: contiguous columns, with stride ld between
// columns.
struct Stored {
    const void* data;
    bool transposed;  // the view is the transpose of the stored matrix
    Index rows, cols, ld;
};

// What the choice of an algorithm depends on.
struct MatmulKey {
    Index m, n, k;
    bool a_transposed, b_transposed;
    Index a_ld, b_ld, c_ld;
    int a_alignment, b_alignment, c_alignment;
    ScalarMode scalar_mode;
    Epilogue epilogue;

    bool operator==(const MatmulKey&) const = default;
};

// c = alpha a b + beta c, and the epilogue. c is not transposed.
struct Product {
    Stored a, b;
    void* c;
    Index c_ld;
    Scalars scalars;
    Epilogue epilogue;
    const void* bias;  // one number for each row of c, aligned to 16 bytes

    MatmulKey key() const noexcept;
};

class MatmulCache {
  public:
    // Products run in the order of the queue. The queue also gets failures, and
    // `untimed` if a product has no final algorithm yet.
    MatmulCache(const Library& lt, const Arithmetic& arithmetic, bool deterministic, Queue& queue) noexcept;
    ~MatmulCache();
    MatmulCache(const MatmulCache&) = delete;
    MatmulCache& operator=(const MatmulCache&) = delete;

    // False if cuBLASLt has no such product. Reads no number of the matrices.
    bool offers(const Product& product) noexcept;
    // False if cuBLASLt has no such product, or if that is not known yet. Then
    // nothing was done.
    bool run(const Product& product) noexcept;

  private:
    template <class Opaque>
    using Owned = std::unique_ptr<Opaque, cublasStatus_t (*)(Opaque*)>;
    using Description = Owned<std::remove_pointer_t<cublasLtMatmulDesc_t>>;
    using Layout = Owned<std::remove_pointer_t<cublasLtMatrixLayout_t>>;
    using Preference = Owned<std::remove_pointer_t<cublasLtMatmulPreference_t>>;
    using Candidate = cublasLtMatmulHeuristicResult_t;

    // The first candidate is the one in use.
    struct Entry {
        Description description;
        Layout a, b, c;
        std::vector<Candidate> candidates = {};
        int uses = 0;  // outside captures, up to timed_use
    };
    struct Trial;
    struct KeyHash {
        std::size_t operator()(const MatmulKey& key) const noexcept;
    };

    Entry* entry_for(const Product& product) noexcept;  // nullptr if memory is missing
    Entry make(const Product& product, const MatmulKey& key);
    std::vector<Candidate> candidates_of(const Entry& entry, const MatmulKey& key);
    Description describe(const Product& product) noexcept;
    Layout lay_out(cudaDataType_t type, Index rows, Index cols, Index ld) noexcept;
    Preference prefer(const MatmulKey& key) noexcept;
    void prepare(const Product& product, Entry& entry) noexcept;
    void choose(const Product& product, Entry& entry) noexcept;
    bool keeps_nan(const Trial& trial, const Entry& entry, const Candidate& candidate) noexcept;
    float milliseconds(const Product& trial, const Entry& entry, const Candidate& candidate) noexcept;
    cublasStatus_t multiply(const Product& product, const Entry& entry, const Candidate& candidate) noexcept;
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
    std::unordered_map<MatmulKey, Entry, KeyHash> entries_;
};

}  // namespace fastbp::cuda
