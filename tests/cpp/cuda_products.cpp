// Products on the emulated device: every form of views, what is planned when, and what does not reach the result.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend/cuda/products.hpp"

namespace fastbp::cuda {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void expect(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

// ---- cuBLASLt, watched ------------------------------------------------------------------------------------------

struct Seen {
    int heuristics = 0, products = 0;
    std::uint32_t reductions = 0;
    int least_alignment = 256;
    cublasComputeType_t compute = {};
    int refused = -1;  // which call of a product fails
    int offered = 8;   // how many algorithms there are at most
};
Seen seen;

Library watched() {
    static const Library* original = nullptr;
    original = library();
    expect(original != nullptr, library_missing());
    Library table = *original;
    table.matmul_desc_create = [](cublasLtMatmulDesc_t* to, cublasComputeType_t compute, cudaDataType_t scale) {
        seen.compute = compute;
        return original->matmul_desc_create(to, compute, scale);
    };
    table.matmul_preference_set_attribute = [](cublasLtMatmulPreference_t to,
                                               cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                               std::size_t size) {
        std::uint32_t number = 0;
        if (size == sizeof number) std::memcpy(&number, value, size);
        if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) seen.reductions = number;
        if (attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
            attribute <= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES && int(number) < seen.least_alignment)
            seen.least_alignment = int(number);
        return original->matmul_preference_set_attribute(to, attribute, value, size);
    };
    table.matmul_algo_get_heuristic = [](cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                         cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                         cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted,
                                         cublasLtMatmulHeuristicResult_t* results, int* count) {
        ++seen.heuristics;
        if (seen.offered == 0) return CUBLAS_STATUS_NOT_SUPPORTED;
        return original->matmul_algo_get_heuristic(handle, product, a, b, c, d, preference,
                                                   std::min(wanted, seen.offered), results, count);
    };
    table.matmul = [](cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha, const void* a,
                      cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout, const void* beta,
                      const void* c, cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                      const cublasLtMatmulAlgo_t* algo, void* own, std::size_t size, cudaStream_t stream) {
        if (seen.products++ == seen.refused) return CUBLAS_STATUS_NOT_SUPPORTED;
        return original->matmul(handle, product, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo,
                                own, size, stream);
    };
    return table;
}

// ---- matrices on the device --------------------------------------------------------------------------------------

// How a view of (rows, cols) lies: by rows or by columns, with or without gaps, aligned or one number off.
struct Form {
    bool transposed = false;
    Index gap = 0, offset = 0;
};

template <class Real>
class DeviceMatrix {
  public:
    DeviceMatrix(Index rows, Index cols, Form form, std::vector<double> numbers)
        : form_(form), rows_(rows), cols_(cols) {
        const Index lines = form.transposed ? cols : rows, line = (form.transposed ? rows : cols) + form.gap;
        host_.assign(std::size_t(form.offset + lines * line), Real(nan));
        expect(cudaMalloc(&data_, host_.size() * sizeof(Real) + 1) == cudaSuccess, "there is memory");
        for (Index r = 0; r < rows; ++r)
            for (Index c = 0; c < cols; ++c) at(r, c) = Real(numbers[std::size_t(r * cols + c)]);
        expect(cudaMemcpy(data_, host_.data(), host_.size() * sizeof(Real), cudaMemcpyHostToDevice) == cudaSuccess,
               "numbers go up");
    }
    ~DeviceMatrix() { cudaFree(data_); }
    DeviceMatrix(const DeviceMatrix&) = delete;
    DeviceMatrix& operator=(const DeviceMatrix&) = delete;

    Matrix<Real> view() const {
        const Index line = (form_.transposed ? rows_ : cols_) + form_.gap;
        Real* first = data_ + form_.offset;
        if (form_.transposed) return {first, rows_, cols_, 1, line};
        return {first, rows_, cols_, line, 1};
    }
    // Row by row; what lies in the gaps must be as it was.
    std::vector<double> numbers() {
        const std::vector<Real> before = host_;
        expect(cudaMemcpy(host_.data(), data_, host_.size() * sizeof(Real), cudaMemcpyDeviceToHost) == cudaSuccess,
               "numbers come down");
        std::vector<double> found;
        for (Index r = 0; r < rows_; ++r)
            for (Index c = 0; c < cols_; ++c) {
                found.push_back(double(at(r, c)));
                at(r, c) = Real(nan);
            }
        for (const Real gap : host_) expect(std::isnan(gap), "gaps are left alone");
        host_ = before;
        return found;
    }

  private:
    Real& at(Index r, Index c) {
        const Matrix<Real> m = view();
        return host_[std::size_t(form_.offset + r * m.row_stride + c * m.col_stride)];
    }

    Form form_;
    Index rows_, cols_;
    Real* data_ = nullptr;
    std::vector<Real> host_;
};

std::vector<double> drawn(Index count, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_int_distribution<int> small(-8, 8);  // sums are exact in any order
    std::vector<double> numbers(static_cast<std::size_t>(count));
    for (double& number : numbers) number = small(generator);
    return numbers;
}

std::vector<double> product_of(Index m, Index n, Index k, const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> c(std::size_t(m * n));
    for (Index i = 0; i < m; ++i)
        for (Index j = 0; j < n; ++j)
            for (Index p = 0; p < k; ++p)
                c[std::size_t(i * n + j)] += a[std::size_t(i * k + p)] * b[std::size_t(p * n + j)];
    return c;
}

// A product of one form, by gemm and by gemm_blended.
template <class Real>
void one_form(Products<Real>& products, Index m, Index n, Index k, Form of_a, Form of_b, Form of_c, double alpha,
              double beta) {
    const auto a = drawn(m * k, 1), b = drawn(k * n, 2),
               c = beta == 0 ? std::vector(std::size_t(m * n), nan) : drawn(m * n, 3);
    auto expected = product_of(m, n, k, a, b);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] = alpha * expected[i] + (beta == 0 ? 0 : beta * c[i]);
    const DeviceMatrix<Real> on_a(m, k, of_a, a), on_b(k, n, of_b, b);
    DeviceMatrix<Real> on_c(m, n, of_c, c), blended(m, n, of_c, c);
    products.gemm(Real(alpha), on_a.view(), on_b.view(), Real(beta), on_c.view());
    const DeviceMatrix<Real> blend(1, 2, {}, {alpha, beta});
    products.gemm_blended(on_a.view(), on_b.view(), reinterpret_cast<const Blend<Real>*>(blend.view().data),
                          blended.view());
    expect(on_c.numbers() == expected, "gemm");
    expect(blended.numbers() == expected, "gemm_blended");
}

template <class Real>
void all_forms() {
    Queue queue;
    const Library lt = watched();
    Products<Real> products(lt, {}, queue);
    const Form forms[] = {{false, 0, 0}, {true, 0, 0}, {false, 3, 1}, {true, 2, 1}};
    const Index sizes[][3] = {{5, 7, 3}, {1, 4, 6}, {6, 1, 5}, {4, 3, 1}, {1, 1, 4}, {1, 5, 1}, {1, 1, 1}, {9, 1, 1}};
    for (const auto& [m, n, k] : sizes)
        for (const Form of_a : forms)
            for (const Form of_b : forms)
                for (const Form of_c : forms) one_form(products, m, n, k, of_a, of_b, of_c, 1, 0);
    for (const auto& [alpha, beta] : {std::pair{0.5, 0.0}, {-2.0, 1.0}, {1.0, 0.25}})
        for (const Form of_c : forms) one_form(products, 5, 7, 3, forms[0], forms[3], of_c, alpha, beta);
    for (const double beta : {0.0, 1.0, -0.5})
        for (const Form of_c : forms) one_form(products, 4, 3, 0, forms[0], forms[0], of_c, 2, beta);
    expect(!queue.failure.noted(), queue.failure.text());
}

// A net's first layer on the device, ready for products: x (4, 3), w (3, 8), b (8,), s (4, 8).
template <class Real>
struct Example {
    Library lt = watched();
    Queue queue;
    Products<Real> products;
    DeviceMatrix<Real> x{4, 3, {}, drawn(12, 1)}, w{3, 8, {}, drawn(24, 2)}, b{1, 8, {}, drawn(8, 3)};
    DeviceMatrix<Real> s{4, 8, {}, std::vector(32, nan)};
    std::vector<double> xw = product_of(4, 8, 3, drawn(12, 1), drawn(24, 2));

    explicit Example(BackendOptions options = {}) : products(lt, options, queue) { seen = {}; }
    void gemm() { products.gemm(1, x.view(), w.view(), 0, s.view()); }
    Vector<const Real> bias(Index from = 0) const { return {b.view().data + from, 8 - from}; }
};

// A single row or column, of which neither stride need be 1: every third number of a, every second of b and c.
void strided_vectors() {
    Example<float> on;
    const DeviceMatrix<float> a(1, 12, {}, drawn(12, 4)), b(1, 8, {}, drawn(8, 5));
    DeviceMatrix<float> c(4, 8, {}, std::vector(32, 0.0));
    on.products.gemm(1, {a.view().data, 4, 1, 3, 5}, {b.view().data, 1, 4, 7, 2}, 0, c.view().column_block(0, 4));
    on.products.gemm(1, {b.view().data, 1, 4, 9, 2}, {a.view().data, 4, 1, 3, 9}, 0, {c.view().data + 31, 1, 1, 0, 0});
    on.products.gemm(1, {a.view().data, 4, 1, 3, 5}, {b.view().data, 1, 1, 5, 5}, 0, {c.view().data + 5, 4, 1, 8, 3});
    const auto numbers_a = drawn(12, 4), numbers_b = drawn(8, 5), found = c.numbers();
    double inner = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        inner += numbers_a[3 * i] * numbers_b[2 * i];
        expect(found[8 * i + 5] == numbers_a[3 * i] * numbers_b[0], "a column into a column");
        for (std::size_t j = 0; j < 4; ++j)
            expect(found[8 * i + j] == numbers_a[3 * i] * numbers_b[2 * j], "a column times a row");
    }
    expect(found[31] == inner && !on.queue.failure.noted(), "a row times a column");
}

template <class Real>
void affine() {
    Example<Real> on;
    const auto b = drawn(8, 3);
    auto expected = on.xw;
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += b[i % 8];
    const bool in_float32 = std::is_same_v<Real, float>;
    expect(on.products.affine(on.x.view(), on.w.view(), on.bias(), false, on.s.view()) == in_float32,
           "there is a bias epilogue, here in float32 alone");
    if (in_float32) expect(on.s.numbers() == expected, "affine");
    expect(on.products.affine(on.x.view(), on.w.view(), on.bias(), true, on.s.view()) == in_float32, "and one of relu");
    if (in_float32) {
        for (double& number : expected) number = std::max(number, 0.0);
        expect(on.s.numbers() == expected, "affine with relu");
        const DeviceMatrix<Real> broken(1, 8, {}, std::vector(8, nan));
        on.products.affine(on.x.view(), on.w.view(), {broken.view().data, 8}, true, on.s.view());
        for (const double number : on.s.numbers()) expect(std::isnan(number), "relu keeps NaN");
    }
    on.gemm();
    const auto before = on.s.numbers();
    const DeviceMatrix<Real> by_columns(4, 8, {true, 0, 0}, std::vector(32, nan));
    expect(!on.products.affine(on.x.view(), on.w.view(), on.bias(), false, by_columns.view()),
           "a bias goes down columns");
    expect(!on.products.affine(on.x.view(), on.w.view().column_block(1, 8), on.bias(1), false,
                               on.s.view().column_block(1, 8)),
           "a bias is aligned");
    seen.offered = 0;
    expect(!on.products.affine(on.x.view().row_block(0, 3), on.w.view(), on.bias(), false, on.s.view().row_block(0, 3)),
           "no epilogue, nothing done");
    expect(on.s.numbers() == before && !on.queue.failure.noted(), "a refusal is no failure");
    on.products.gemm(1, on.x.view().row_block(0, 3), on.w.view(), 0, on.s.view().row_block(0, 3));
    expect(on.queue.failure.noted(), "a product that is not to be had is a failure");
}

// ---- what is planned when ----------------------------------------------------------------------------------------

void plans_are_kept() {
    Example<float> on;
    for (int use = 1; use <= 2; ++use) {
        on.queue.untimed = false;
        on.gemm();
        expect(seen.heuristics == 1 && seen.products == use, "the first suggestion will do for a while");
        expect(on.queue.untimed, "and the queue knows");
    }
    on.queue.untimed = false;
    on.gemm();
    const int candidates = (seen.products - 3) / 4;
    expect(seen.heuristics == 1 && candidates > 1 && seen.products == 4 * candidates + 3, "candidates are tried");
    expect(!on.queue.untimed && on.s.numbers() == on.xw, "the choice is made, and the product too");
    on.gemm();
    expect(seen.heuristics == 1 && seen.products == 4 * candidates + 4, "a plan is used again");
    expect(seen.least_alignment == 256, "memory of the device is aligned");
    on.products.gemm(1, on.x.view(), on.w.view(), 1, on.s.view());
    expect(seen.heuristics == 2, "beta has plans of its own");
    on.products.gemm(1, on.x.view(), on.w.view().column_block(1, 8), 0, on.s.view().column_block(1, 8));
    expect(seen.heuristics == 3 && seen.least_alignment == 4, "a plan knows how the numbers are aligned");
    expect(on.s.numbers().size() == 32 && !on.queue.failure.noted(), "nothing fails");
}

void a_candidate_that_fails_is_not_used() {
    for (const int use : {1, 2, 3}) {
        Example<float> on;
        for (int k = 1; k < use; ++k) on.gemm();
        seen.refused = seen.products;
        on.gemm();
        expect(on.s.numbers() == on.xw && !on.queue.failure.noted(), "another candidate does it");
    }
    Example<float> on;
    seen.offered = 1;
    seen.refused = seen.products;
    const auto affine = [&] { return on.products.affine(on.x.view(), on.w.view(), on.bias(), false, on.s.view()); };
    expect(!affine() && !affine() && seen.products == 1 && !on.queue.failure.noted(), "left to a kernel");
}

// The emulated cuBLASLt has one candidate of two that keeps NaN.
void relu_is_tried_at_once() {
    Example<float> on;
    expect(on.products.affine(on.x.view(), on.w.view(), on.bias(), true, on.s.view()), "relu");
    expect(seen.products == 3 && !on.queue.untimed, "both are tried, and one is left");
}

void deterministic() {
    Example<float> on({Precision::full, true});
    for (int use = 1; use <= 4; ++use) on.gemm();
    expect(seen.heuristics == 1 && seen.products == 4 && !on.queue.untimed, "nothing is timed");
    expect(seen.reductions == (CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE),
           "sums are not split in place");
    expect(on.s.numbers() == on.xw, "a deterministic product");
}

void recorded() {
    Example<float> on;
    expect(cudaStreamCreate(&on.queue.stream) == cudaSuccess, "a stream");
    expect(cudaStreamBeginCapture(on.queue.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess, "a capture");
    on.gemm();
    expect(!on.products.affine(on.x.view(), on.w.view(), on.bias(), true, on.s.view()), "relu is to be tried first");
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recording = nullptr;
    expect(cudaStreamEndCapture(on.queue.stream, &graph) == cudaSuccess, "the capture ends");
    expect(seen.products == 1, "nothing is timed in a capture");
    expect(cudaGraphInstantiate(&recording, graph, 0) == cudaSuccess, "a recording");
    expect(std::isnan(on.s.numbers()[0]), "a capture computes nothing");
    expect(cudaGraphLaunch(recording, on.queue.stream) == cudaSuccess, "a launch");
    expect(cudaStreamSynchronize(on.queue.stream) == cudaSuccess, "the end of it");
    expect(on.s.numbers() == on.xw, "a recording computes");
    for (int use = 1; use <= 3; ++use) on.gemm();
    expect(seen.products > 4, "timed at the third use behind it");
    expect(on.s.numbers() == on.xw && !on.queue.failure.noted(), "a product after a capture");
    cudaGraphExecDestroy(recording);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(on.queue.stream);
}

// ---- precision ---------------------------------------------------------------------------------------------------

void in_bfloat16() {
    const double inf = std::numeric_limits<double>::infinity();
    const double every_bit = std::bit_cast<float>(0x7fffffffU);  // a NaN that would be carried over into -0
    // Between two neighbours: below and above the middle, the middle to the even one down and up; the largest float
    // rounds to infinity; NaN and infinity stay.
    const std::vector<double> numbers = {1 + 0x1.fp-9, 1 + 0x1.1p-8, 1 + 0x1p-8,
                                         1 + 0x3p-8,   -1 - 0x3p-8,  std::numeric_limits<float>::max(),
                                         inf,          every_bit};
    const std::vector<double> rounded = {1, 1 + 0x1p-7, 1, 1 + 0x1p-6, -1 - 0x1p-6, inf, inf, nan};
    Queue queue;
    const Library lt = watched();
    Products<float> products(lt, {Precision::bf16}, queue);
    for (const bool transposed : {false, true}) {
        const DeviceMatrix<float> a(8, 1, {transposed, 2, 1}, numbers), one(1, 1, {}, {1});
        DeviceMatrix<float> c(8, 1, {}, std::vector(8, nan));
        products.gemm(1, a.view(), one.view(), 0, c.view());
        const auto found = c.numbers();
        for (std::size_t i = 0; i < 8; ++i)
            expect(found[i] == rounded[i] || (std::isnan(found[i]) && std::isnan(rounded[i])), "rounded to bfloat16");
    }
    Example<float> on({Precision::bf16});  // small integers are exact in it
    on.gemm();
    expect(on.s.numbers() == on.xw && !on.queue.failure.noted(), "a product in bfloat16");
    expect(seen.compute == CUBLAS_COMPUTE_32F, "sums in float32");
}

void in_tf32() {
    Example<float> on({Precision::tf32});
    on.gemm();
    expect(seen.compute == CUBLAS_COMPUTE_32F_FAST_TF32, "tf32 is asked for");
    expect(on.s.numbers() == on.xw, "a product in tf32");
    Example<double> wide({Precision::tf32});
    wide.gemm();
    expect(seen.compute == CUBLAS_COMPUTE_64F, "float64 has one precision");
}

void run() {
    all_forms<float>();
    all_forms<double>();
    strided_vectors();
    affine<float>();
    affine<double>();
    plans_are_kept();
    a_candidate_that_fails_is_not_used();
    relu_is_tried_at_once();
    deterministic();
    recorded();
    in_bfloat16();
    in_tf32();
}

}  // namespace
}  // namespace fastbp::cuda

int main() {
    fastbp::cuda::run();
    std::puts("products are right");
}
