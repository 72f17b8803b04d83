// cuBLASLt on the processor: every argument is checked, the sums are plain loops in double precision, and the work
// goes to the stream like a kernel. Of the algorithms that a product is offered, the first uses no workspace and its
// relu gives 0 for NaN; the second writes into its workspace, and its relu keeps NaN. The sums are the same bits in
// both, whichever a time chooses.
#include "cublasLt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "runtime.hpp"

struct cublasLtContext {};

struct cublasLtMatmulDescOpaque_t {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    std::int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
    std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void* bias = nullptr;
};

struct cublasLtMatrixLayoutOpaque_t {
    std::uint32_t type;
    std::uint64_t rows, cols;
    std::int64_t ld;
};

struct cublasLtMatmulPreferenceOpaque_t {
    std::uint64_t workspace = 0;
    std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    std::uint32_t alignments[4] = {256, 256, 256, 256};  // of a, b, c and d
};

namespace {

using Description = cublasLtMatmulDescOpaque_t;
using Layout = cublasLtMatrixLayoutOpaque_t;

constexpr std::uint64_t algorithm_mark = 0x66617374627021;
constexpr std::size_t workspace_of_second = 1024;
constexpr std::size_t bias_alignment = 16;

// What an algorithm keeps of the question that it answered.
struct Algorithm {
    std::uint64_t mark, second, alignments[4];
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t));

std::size_t size_of(std::uint32_t type) { return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2; }

// The value of one number, and a number from a value.
double read(const void* data, std::uint32_t type, std::size_t at) {
    if (type == CUDA_R_64F) return static_cast<const double*>(data)[at];
    if (type == CUDA_R_32F) return static_cast<const float*>(data)[at];
    const std::uint32_t bits = std::uint32_t(static_cast<const std::uint16_t*>(data)[at]) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
void write(void* data, std::uint32_t type, std::size_t at, double value) {
    if (type == CUDA_R_64F)
        static_cast<double*>(data)[at] = value;
    else
        static_cast<float*>(data)[at] = float(value);
}

// Ten bits after the point, to nearest, ties to even.
double as_tf32(double value) {
    const float number = float(value);
    if (!std::isfinite(number)) return number;
    std::uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    bits += 0xfff + (bits >> 13 & 1);
    bits &= ~0x1fffU;
    float rounded;
    std::memcpy(&rounded, &bits, sizeof rounded);
    return rounded;
}

template <class T>
cublasStatus_t take(T& to, const void* value, std::size_t bytes) {
    if (value == nullptr || bytes != sizeof(T)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&to, value, sizeof(T));
    return CUBLAS_STATUS_SUCCESS;
}

struct Shape {
    std::uint64_t rows, cols;
};
Shape shape(const Layout& m, std::int32_t operation) {
    return operation == CUBLAS_OP_N ? Shape{m.rows, m.cols} : Shape{m.cols, m.rows};
}

bool has_bias(const Description& d) { return (d.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0; }

// In float64 there is no epilogue here, so that what the backend does without one is tried.
bool lacks_epilogue(const Description& how) {
    return how.compute == CUBLAS_COMPUTE_64F && how.epilogue != CUBLASLT_EPILOGUE_DEFAULT;
}

// The combinations of types that the backend may ask for.
bool supported(const Description& how, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    if (c.type != d.type || a.type != b.type) return false;
    if (how.compute == CUBLAS_COMPUTE_64F)
        return how.scale == CUDA_R_64F && a.type == CUDA_R_64F && d.type == CUDA_R_64F;
    if (how.scale != CUDA_R_32F || d.type != CUDA_R_32F) return false;
    if (how.compute == CUBLAS_COMPUTE_32F_FAST_TF32) return a.type == CUDA_R_32F;
    return how.compute == CUBLAS_COMPUTE_32F && (a.type == CUDA_R_32F || a.type == CUDA_R_16BF);
}

cublasStatus_t check(const Description* how, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
    if (how == nullptr || a == nullptr || b == nullptr || c == nullptr || d == nullptr)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const Layout* m : {a, b, c, d})
        if (m->rows == 0 || m->cols == 0 || m->ld < std::int64_t(m->rows)) return CUBLAS_STATUS_INVALID_VALUE;
    const Shape left = shape(*a, how->transpose_a), right = shape(*b, how->transpose_b);
    if (left.cols != right.rows || left.rows != d->rows || right.cols != d->cols || c->rows != d->rows ||
        c->cols != d->cols)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (lacks_epilogue(*how)) return CUBLAS_STATUS_INVALID_VALUE;  // as it may answer, less kindly than "not supported"
    return supported(*how, *a, *b, *c, *d) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

bool aligned(const void* data, std::uint64_t to) { return reinterpret_cast<std::uintptr_t>(data) % to == 0; }

// One product as it goes to the stream: arguments by value, pointers of the device.
struct Product {
    Description how;
    Layout a_layout, b_layout, c_layout, d_layout;
    const void *alpha_on_device, *beta_on_device;
    double alpha, beta;  // where they are in the process
    const void *a, *b, *c;
    void* d;
    Algorithm algorithm;
    void* workspace;

    void run() const;

  private:
    std::vector<double> factor(const void* data, const Layout& layout, bool along_columns) const;
    double finish(double sum, std::size_t row) const;
};

// The factor in double precision, with what one sum runs over next to each other.
std::vector<double> Product::factor(const void* data, const Layout& layout, bool along_columns) const {
    std::vector<double> packed(layout.rows * layout.cols);
    for (std::size_t j = 0; j < layout.cols; ++j)
        for (std::size_t i = 0; i < layout.rows; ++i) {
            const double value = read(data, layout.type, i + j * std::size_t(layout.ld));
            packed[along_columns ? i + j * layout.rows : j + i * layout.cols] =
                how.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? as_tf32(value) : value;
        }
    return packed;
}

double Product::finish(double sum, std::size_t row) const {
    if (has_bias(how)) sum += read(how.bias, d_layout.type, row);
    if ((how.epilogue & CUBLASLT_EPILOGUE_RELU) == 0) return sum;
    return algorithm.second != 0 && std::isnan(sum) ? sum : std::fmax(sum, 0.0);
}

void Product::run() const {
    const double by = alpha_on_device == nullptr ? alpha : read(alpha_on_device, how.scale, 0);
    const double keep = beta_on_device == nullptr ? beta : read(beta_on_device, how.scale, 0);
    const std::vector<double> left = factor(a, a_layout, how.transpose_a != CUBLAS_OP_N);
    const std::vector<double> right = factor(b, b_layout, how.transpose_b == CUBLAS_OP_N);
    const std::size_t inner = shape(a_layout, how.transpose_a).cols;
    if (algorithm.second != 0) std::memset(workspace, 0xff, workspace_of_second);
    for (std::size_t j = 0; j < d_layout.cols; ++j)
        for (std::size_t i = 0; i < d_layout.rows; ++i) {
            const double* of_left = &left[i * inner];
            const double* of_right = &right[j * inner];
            double sum = 0;
            for (std::size_t k = 0; k < inner; ++k) sum += of_left[k] * of_right[k];
            sum *= by;
            if (keep != 0) sum += keep * read(c, c_layout.type, i + j * std::size_t(c_layout.ld));
            write(d, d_layout.type, i + j * std::size_t(d_layout.ld), finish(sum, i));
        }
}

// Without an algorithm, the first that the heuristic would offer for any alignment.
Algorithm algorithm_of(const cublasLtMatmulAlgo_t* given) {
    Algorithm algorithm{algorithm_mark, 0, {1, 1, 1, 1}};
    if (given != nullptr) std::memcpy(&algorithm, given, sizeof algorithm);
    return algorithm;
}

}  // namespace

std::size_t cublasLtGetVersion() {
    const char* given = std::getenv("FASTBP_EMULATED_CUBLASLT_VERSION");
    return given == nullptr ? 130000 : std::size_t(std::atoi(given));
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
        case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
        default: return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    if (cuda_emulation::device_is_there() != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (std::getenv("FASTBP_EMULATED_CUBLASLT_BROKEN") != nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    if (description == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    *description = new Description{compute, scale};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
    delete description;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
    if (description == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_POINTER_MODE: return take(description->pointer_mode, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSA: return take(description->transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return take(description->transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: return take(description->epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return take(description->bias, value, bytes);
        default: return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type, std::uint64_t rows,
                                          std::uint64_t cols, std::int64_t ld) {
    if (layout == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    *layout = new Layout{std::uint32_t(type), rows, cols, ld};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    delete layout;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
    if (preference == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    *preference = new cublasLtMatmulPreferenceOpaque_t;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    delete preference;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    std::size_t bytes) {
    if (preference == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return take(preference->workspace, value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return take(preference->reductions, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            return take(preference->alignments[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    if (count == nullptr || results == nullptr || preference == nullptr || most < 1) return CUBLAS_STATUS_INVALID_VALUE;
    *count = 0;
    if (const cublasStatus_t status = check(description, a, b, c, d); status != CUBLAS_STATUS_SUCCESS) return status;
    for (const std::uint64_t second : {0, 1}) {
        const bool wanted = second == 0 || (preference->workspace >= workspace_of_second &&
                                            (preference->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) != 0);
        if (!wanted || *count == most) continue;
        const std::uint32_t* to = preference->alignments;
        const Algorithm algorithm{algorithm_mark, second, {to[0], to[1], to[2], to[3]}};
        cublasLtMatmulHeuristicResult_t& result = results[(*count)++];
        result = {};
        std::memcpy(&result.algo, &algorithm, sizeof algorithm);
        result.workspaceSize = second == 0 ? 0 : workspace_of_second;
        result.wavesCount = 1;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, std::size_t workspace_bytes,
                              cudaStream_t stream) {
    if (handle == nullptr) return CUBLAS_STATUS_NOT_INITIALIZED;
    const cublasStatus_t status = check(description, a_layout, b_layout, c_layout, d_layout);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    const Algorithm algorithm = algorithm_of(algo);
    const bool on_device = description->pointer_mode == CUBLASLT_POINTER_MODE_DEVICE;
    bool right = algorithm.mark == algorithm_mark && alpha != nullptr && beta != nullptr && d != nullptr;
    right = right && (algorithm.second == 0 || (workspace != nullptr && workspace_bytes >= workspace_of_second));
    const void* pointers[] = {a, b, c, d};
    const Layout* layouts[] = {a_layout, b_layout, c_layout, d_layout};
    for (int k = 0; k < 4; ++k)
        right = right && (pointers[k] != nullptr || k == 2) && aligned(pointers[k], algorithm.alignments[k]) &&
                aligned(pointers[k], size_of(layouts[k]->type));
    if (has_bias(*description))
        right = right && description->bias != nullptr && aligned(description->bias, bias_alignment);
    const bool in_place = c == d && c_layout->ld != d_layout->ld;
    if (!right || in_place) return CUBLAS_STATUS_INVALID_VALUE;
    Product product{*description, *a_layout, *b_layout, *c_layout, *d_layout, nullptr, nullptr, 0, 0, a, b, c, d,
                    algorithm,    workspace};
    if (on_device) {
        product.alpha_on_device = alpha;
        product.beta_on_device = beta;
    } else {
        product.alpha = read(alpha, description->scale, 0);
        product.beta = read(beta, description->scale, 0);
        if (product.beta != 0 && c == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
    }
    return cuda_emulation::enqueue(stream, [product] { product.run(); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
