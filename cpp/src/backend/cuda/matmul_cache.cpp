#include "backend/cuda/matmul_cache.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <new>

namespace fastbp::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t(32) << 20;  // what cuBLASLt asks for on Hopper
constexpr std::size_t most_candidates = 8;
constexpr std::size_t most_entries = 4096;  // products that never come back must not fill the memory
constexpr int timed_use = 3;                // a trial does not pay for products that come once or twice
constexpr int timed_runs = 3;
constexpr float clearly_faster = 0.97F;  // a smaller difference is noise, and the heuristic knows better

// The alignment of an address, up to the 256 bytes that cuBLASLt looks at.
int alignment_of(const void* data) {
    const auto address = reinterpret_cast<std::uintptr_t>(data) | 256;
    return int(address & (~address + 1));
}

// Device memory for a trial. `data` is null if there is not enough.
struct TrialBuffer {
    void* data = nullptr;
    explicit TrialBuffer(std::size_t bytes) noexcept {
        if (cudaMalloc(&data, bytes) == cudaSuccess) return;
        cudaGetLastError();  // the call does not fail because a trial cannot run
        data = nullptr;
    }
    ~TrialBuffer() { cudaFree(data); }
    TrialBuffer(const TrialBuffer&) = delete;
    TrialBuffer& operator=(const TrialBuffer&) = delete;
};

}  // namespace

// A product whose result goes to a buffer of its own. Behind the result is
// space for another bias.
struct MatmulCache::Trial {
    const std::size_t result_bytes;
    const TrialBuffer buffer;
    Product product;

    Trial(const Product& given, const MatmulKey& key, std::size_t number_bytes) noexcept
        : result_bytes((std::size_t(key.c_ld * (key.n - 1) + key.m) * number_bytes + 255) / 256 * 256),
          buffer(result_bytes + std::size_t(key.m) * number_bytes),
          product(given) {
        product.c = buffer.data;
    }
    void* bias() const { return static_cast<char*>(buffer.data) + result_bytes; }
};

MatmulKey Product::key() const noexcept {
    return {a.transposed ? a.cols : a.rows,
            b.transposed ? b.rows : b.cols,
            a.transposed ? a.rows : a.cols,
            a.transposed,
            b.transposed,
            a.ld,
            b.ld,
            c_ld,
            alignment_of(a.data),
            alignment_of(b.data),
            alignment_of(c),
            scalars.mode,
            epilogue};
}

std::size_t MatmulCache::KeyHash::operator()(const MatmulKey& key) const noexcept {
    std::uint64_t hash = 0;
    for (const Index number : {key.m, key.n, key.k, Index(key.a_transposed), Index(key.b_transposed), key.a_ld,
                               key.b_ld, key.c_ld, Index(key.a_alignment), Index(key.b_alignment),
                               Index(key.c_alignment), Index(key.scalar_mode), Index(key.epilogue)})
        hash = (hash ^ std::uint64_t(number) ^ (hash >> 32)) * 0x9E3779B97F4A7C15U;
    return std::size_t(hash);
}

MatmulCache::MatmulCache(const Library& lt, const Arithmetic& arithmetic, bool deterministic, Queue& queue) noexcept
    : lt_(lt), arithmetic_(arithmetic), deterministic_(deterministic), queue_(queue), failure_(queue.failure) {
    succeeded(lt_.create(&handle_));
    failure_.note(cudaMalloc(&workspace_, workspace_bytes), "allocating the workspace of products");
    failure_.note(cudaEventCreate(&begin_), "creating an event");
    failure_.note(cudaEventCreate(&end_), "creating an event");
}

MatmulCache::~MatmulCache() {
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
    cudaFree(workspace_);
    if (handle_ != nullptr) lt_.destroy(handle_);
}

bool MatmulCache::offers(const Product& product) noexcept {
    const Entry* entry = entry_for(product);
    return entry != nullptr && !entry->candidates.empty();
}

bool MatmulCache::run(const Product& product) noexcept {
    Entry* entry = entry_for(product);
    if (entry == nullptr) return false;
    if (entry->uses < timed_use && !capturing(queue_.stream)) prepare(product, *entry);
    const bool known = entry->uses > 0 || product.epilogue != Epilogue::bias_relu;
    if (!known || entry->candidates.empty()) return false;
    cublasStatus_t status = multiply(product, *entry, entry->candidates.front());
    const bool untried = product.epilogue != Epilogue::bias_relu;
    while (status != CUBLAS_STATUS_SUCCESS && untried && entry->candidates.size() > 1) {
        entry->candidates.erase(entry->candidates.begin());
        status = multiply(product, *entry, entry->candidates.front());
    }
    if (status != CUBLAS_STATUS_SUCCESS && product.epilogue != Epilogue::none) {
        entry->candidates.clear();  // from now on a kernel computes the epilogue
        return false;
    }
    succeeded(status);
    return true;
}

MatmulCache::Entry* MatmulCache::entry_for(const Product& product) noexcept try {
    const MatmulKey key = product.key();
    const auto known = entries_.find(key);
    if (known != entries_.end()) return &known->second;
    if (entries_.size() == most_entries) entries_.clear();
    return &entries_.emplace(key, make(product, key)).first->second;
} catch (const std::bad_alloc&) {
    failure_.note("out of memory for the description of a product");
    return nullptr;
}

MatmulCache::Entry MatmulCache::make(const Product& product, const MatmulKey& key) {
    Entry entry{describe(product), lay_out(arithmetic_.factors, product.a.rows, product.a.cols, product.a.ld),
                lay_out(arithmetic_.factors, product.b.rows, product.b.cols, product.b.ld),
                lay_out(arithmetic_.numbers, key.m, key.n, key.c_ld)};
    entry.candidates = candidates_of(entry, key);
    return entry;
}

std::vector<MatmulCache::Candidate> MatmulCache::candidates_of(const Entry& entry, const MatmulKey& key) {
    const Preference preference = prefer(key);
    std::vector<Candidate> candidates(most_candidates);
    int count = 0;
    const cublasStatus_t status = lt_.matmul_algo_get_heuristic(
        handle_, entry.description.get(), entry.a.get(), entry.b.get(), entry.c.get(), entry.c.get(), preference.get(),
        int(candidates.size()), candidates.data(), &count);
    // If there is an epilogue, a kernel computes it whenever cuBLASLt does not,
    // whatever the reason.
    const bool may_fail = status == CUBLAS_STATUS_NOT_SUPPORTED || key.epilogue != Epilogue::none;
    if (status != CUBLAS_STATUS_SUCCESS) count = 0;
    if (!may_fail) succeeded(status);
    candidates.resize(std::size_t(count));
    std::erase_if(candidates, [](const Candidate& candidate) { return candidate.state != CUBLAS_STATUS_SUCCESS; });
    return candidates;
}

MatmulCache::Description MatmulCache::describe(const Product& product) noexcept {
    cublasLtMatmulDesc_t description = nullptr;
    succeeded(lt_.matmul_desc_create(&description, arithmetic_.compute, arithmetic_.numbers));
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
        succeeded(lt_.matmul_desc_set_attribute(description, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (product.scalars.mode == ScalarMode::on_device)
        set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
    if (product.epilogue != Epilogue::none) {
        set(CUBLASLT_MATMUL_DESC_EPILOGUE,
            product.epilogue == Epilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_RELU_BIAS);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            product.bias);  // the heuristic looks at its alignment
    }
    return {description, lt_.matmul_desc_destroy};
}

MatmulCache::Layout MatmulCache::lay_out(cudaDataType_t type, Index rows, Index cols, Index ld) noexcept {
    cublasLtMatrixLayout_t layout = nullptr;
    succeeded(lt_.matrix_layout_create(&layout, type, std::uint64_t(rows), std::uint64_t(cols), ld));
    return {layout, lt_.matrix_layout_destroy};
}

MatmulCache::Preference MatmulCache::prefer(const MatmulKey& key) noexcept {
    cublasLtMatmulPreference_t preference = nullptr;
    succeeded(lt_.matmul_preference_create(&preference));
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
        succeeded(lt_.matmul_preference_set_attribute(preference, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_ == nullptr ? std::uint64_t(0) : workspace_bytes);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t(key.a_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t(key.b_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t(key.c_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t(key.c_alignment));
    // A sum that is split in place adds its parts in the order in which they
    // finish.
    if (deterministic_)
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            std::uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
    return {preference, lt_.matmul_preference_destroy};
}

// Called before each use outside a capture. The first use removes candidates
// whose relu loses NaN; the third use times the candidates.
void MatmulCache::prepare(const Product& product, Entry& entry) noexcept {
    std::vector<Candidate>& candidates = entry.candidates;
    if (entry.uses++ == 0 && product.epilogue == Epilogue::bias_relu) {
        const Trial trial(product, product.key(), number_bytes());
        candidates.erase(candidates.begin(),
                         std::find_if(candidates.begin(), candidates.end(),
                                      [&](const Candidate& candidate) { return keeps_nan(trial, entry, candidate); }));
    }
    if (deterministic_ || candidates.size() < 2) return;
    if (entry.uses == timed_use)
        choose(product, entry);
    else
        queue_.untimed = true;
}

void MatmulCache::choose(const Product& product, Entry& entry) noexcept {
    const Trial trial(product, product.key(), number_bytes());
    if (trial.buffer.data == nullptr) return;
    float least = milliseconds(trial.product, entry, entry.candidates.front());
    for (std::size_t k = 1; k < entry.candidates.size(); ++k) {
        const Candidate& candidate = entry.candidates[k];
        if (product.epilogue == Epilogue::bias_relu && !keeps_nan(trial, entry, candidate)) continue;
        const float time = milliseconds(trial.product, entry, candidate);
        if (time >= clearly_faster * least) continue;
        least = time;
        entry.candidates.front() = candidate;
    }
}

// g(NaN) must be NaN, but cuBLASLt's relu may return 0, which would hide that a
// net diverges. The trial adds a bias of NaN. A result of NaN has bits that are
// set, 0 has none.
bool MatmulCache::keeps_nan(const Trial& trial, const Entry& entry, const Candidate& candidate) noexcept {
    if (trial.buffer.data == nullptr) return false;
    Product product = trial.product;
    product.bias = trial.bias();
    std::uint64_t bits = 0;
    const std::size_t bias_bytes = std::size_t(product.key().m) * number_bytes();
    failure_.note(cudaMemsetAsync(trial.bias(), 0xff, bias_bytes, queue_.stream), "trying a product");
    if (multiply(product, entry, candidate) != CUBLAS_STATUS_SUCCESS) return false;
    failure_.note(cudaMemcpyAsync(&bits, product.c, number_bytes(), cudaMemcpyDeviceToHost, queue_.stream),
                  "trying a product");
    failure_.note(cudaStreamSynchronize(queue_.stream), "trying a product");
    return bits != 0;
}

float MatmulCache::milliseconds(const Product& trial, const Entry& entry, const Candidate& candidate) noexcept {
    float time = std::numeric_limits<float>::infinity();
    if (multiply(trial, entry, candidate) != CUBLAS_STATUS_SUCCESS) return time;
    failure_.note(cudaEventRecord(begin_, queue_.stream), "timing a product");
    for (int run = 0; run < timed_runs; ++run) multiply(trial, entry, candidate);
    failure_.note(cudaEventRecord(end_, queue_.stream), "timing a product");
    failure_.note(cudaEventSynchronize(end_), "timing a product");
    failure_.note(cudaEventElapsedTime(&time, begin_, end_), "timing a product");
    return time;
}

cublasStatus_t MatmulCache::multiply(const Product& product, const Entry& entry, const Candidate& candidate) noexcept {
    if (product.epilogue != Epilogue::none)
        succeeded(lt_.matmul_desc_set_attribute(entry.description.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &product.bias, sizeof product.bias));
    return lt_.matmul(handle_, entry.description.get(), product.scalars.alpha, product.a.data, entry.a.get(),
                      product.b.data, entry.b.get(), product.scalars.beta, product.c, entry.c.get(), product.c,
                      entry.c.get(), &candidate.algo, workspace_, candidate.workspaceSize, queue_.stream);
}

bool MatmulCache::succeeded(cublasStatus_t status) noexcept {
    if (status == CUBLAS_STATUS_SUCCESS) return true;
    char text[160];
    std::snprintf(text, sizeof text, "cuBLASLt: %s", lt_.get_status_string(status));
    failure_.note(text);
    return false;
}

}  // namespace fastbp::cuda
