#include "backend/cuda/plans.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <new>

namespace fastbp::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t(32) << 20;  // what cuBLASLt asks for on Hopper
constexpr std::size_t most_candidates = 8;
constexpr std::size_t most_plans = 4096;  // forms that never come back must not fill the memory
constexpr int timed_use = 3;              // forms that come once or twice are not worth it
constexpr int timed_runs = 3;
constexpr float clearly_faster = 0.97F;  // less is noise, and the order of the heuristic better

// As far as cuBLASLt looks at it.
int alignment_of(const void* data) {
    const auto address = reinterpret_cast<std::uintptr_t>(data) | 256;
    return int(address & (~address + 1));
}

// Memory for trials; without data where there is none.
struct Room {
    void* data = nullptr;
    explicit Room(std::size_t bytes) noexcept {
        if (cudaMalloc(&data, bytes) == cudaSuccess) return;
        cudaGetLastError();  // a trial that cannot be made is no error of the call
        data = nullptr;
    }
    ~Room() { cudaFree(data); }
    Room(const Room&) = delete;
    Room& operator=(const Room&) = delete;
};

}  // namespace

// A product whose result goes to other memory, with room for another bias behind it.
struct Plans::Trial {
    const std::size_t result_bytes;
    const Room room;
    Product product;

    Trial(const Product& given, const Form& form, std::size_t number_bytes) noexcept
        : result_bytes((std::size_t(form.c_ld * (form.n - 1) + form.m) * number_bytes + 255) / 256 * 256),
          room(result_bytes + std::size_t(form.m) * number_bytes),
          product(given) {
        product.c = room.data;
    }
    void* bias() const { return static_cast<char*>(room.data) + result_bytes; }
};

Form Product::form() const noexcept {
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
            scalars,
            epilogue};
}

std::size_t Plans::HashOfForm::operator()(const Form& form) const noexcept {
    std::uint64_t hash = 0;
    for (const Index number : {form.m, form.n, form.k, Index(form.a_transposed), Index(form.b_transposed), form.a_ld,
                               form.b_ld, form.c_ld, Index(form.a_alignment), Index(form.b_alignment),
                               Index(form.c_alignment), Index(form.scalars), Index(form.epilogue)})
        hash = (hash ^ std::uint64_t(number) ^ (hash >> 32)) * 0x9E3779B97F4A7C15U;
    return std::size_t(hash);
}

Plans::Plans(const Library& lt, const Arithmetic& arithmetic, bool deterministic, Queue& queue) noexcept
    : lt_(lt), arithmetic_(arithmetic), deterministic_(deterministic), queue_(queue), failure_(queue.failure) {
    succeeded(lt_.create(&handle_));
    failure_.note(cudaMalloc(&workspace_, workspace_bytes), "allocating the workspace of products");
    failure_.note(cudaEventCreate(&begin_), "creating an event");
    failure_.note(cudaEventCreate(&end_), "creating an event");
}

Plans::~Plans() {
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
    cudaFree(workspace_);
    if (handle_ != nullptr) lt_.destroy(handle_);
}

bool Plans::offers(const Product& product) noexcept {
    const Plan* plan = plan_of(product);
    return plan != nullptr && !plan->candidates.empty();
}

bool Plans::run(const Product& product) noexcept {
    Plan* plan = plan_of(product);
    if (plan == nullptr) return false;
    if (plan->uses < timed_use && !capturing(queue_.stream)) prepare(product, *plan);
    const bool known = plan->uses > 0 || product.epilogue != Epilogue::bias_relu;
    if (!known || plan->candidates.empty()) return false;
    cublasStatus_t status = multiply(product, *plan, plan->candidates.front());
    const bool untried = product.epilogue != Epilogue::bias_relu;
    while (status != CUBLAS_STATUS_SUCCESS && untried && plan->candidates.size() > 1) {
        plan->candidates.erase(plan->candidates.begin());
        status = multiply(product, *plan, plan->candidates.front());
    }
    if (status != CUBLAS_STATUS_SUCCESS && product.epilogue != Epilogue::none) {
        plan->candidates.clear();  // from now on a kernel does what follows the product
        return false;
    }
    succeeded(status);
    return true;
}

Plans::Plan* Plans::plan_of(const Product& product) noexcept try {
    const Form form = product.form();
    const auto known = plans_.find(form);
    if (known != plans_.end()) return &known->second;
    if (plans_.size() == most_plans) plans_.clear();
    return &plans_.emplace(form, make(product, form)).first->second;
} catch (const std::bad_alloc&) {
    failure_.note("no memory for the plan of a product");
    return nullptr;
}

Plans::Plan Plans::make(const Product& product, const Form& form) {
    Plan plan{describe(product), lay_out(arithmetic_.factors, product.a.rows, product.a.cols, product.a.ld),
              lay_out(arithmetic_.factors, product.b.rows, product.b.cols, product.b.ld),
              lay_out(arithmetic_.numbers, form.m, form.n, form.c_ld)};
    plan.candidates = candidates_of(plan, form);
    return plan;
}

std::vector<Plans::Candidate> Plans::candidates_of(const Plan& plan, const Form& form) {
    const Preference preference = prefer(form);
    std::vector<Candidate> candidates(most_candidates);
    int count = 0;
    const cublasStatus_t status = lt_.matmul_algo_get_heuristic(
        handle_, plan.description.get(), plan.a.get(), plan.b.get(), plan.c.get(), plan.c.get(), preference.get(),
        int(candidates.size()), candidates.data(), &count);
    // With an epilogue any answer but success means that it is to be done by a kernel, as where it is not supported.
    const bool may_fail = status == CUBLAS_STATUS_NOT_SUPPORTED || form.epilogue != Epilogue::none;
    if (status != CUBLAS_STATUS_SUCCESS) count = 0;
    if (!may_fail) succeeded(status);
    candidates.resize(std::size_t(count));
    std::erase_if(candidates, [](const Candidate& candidate) { return candidate.state != CUBLAS_STATUS_SUCCESS; });
    return candidates;
}

Plans::Description Plans::describe(const Product& product) noexcept {
    cublasLtMatmulDesc_t description = nullptr;
    succeeded(lt_.matmul_desc_create(&description, arithmetic_.compute, arithmetic_.numbers));
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
        succeeded(lt_.matmul_desc_set_attribute(description, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, product.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, product.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (product.scalars == Scalars::on_device) set(CUBLASLT_MATMUL_DESC_POINTER_MODE, CUBLASLT_POINTER_MODE_DEVICE);
    if (product.epilogue != Epilogue::none) {
        set(CUBLASLT_MATMUL_DESC_EPILOGUE,
            product.epilogue == Epilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_RELU_BIAS);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);  // the heuristic looks at its alignment
    }
    return {description, lt_.matmul_desc_destroy};
}

Plans::Layout Plans::lay_out(cudaDataType_t type, Index rows, Index cols, Index ld) noexcept {
    cublasLtMatrixLayout_t layout = nullptr;
    succeeded(lt_.matrix_layout_create(&layout, type, std::uint64_t(rows), std::uint64_t(cols), ld));
    return {layout, lt_.matrix_layout_destroy};
}

Plans::Preference Plans::prefer(const Form& form) noexcept {
    cublasLtMatmulPreference_t preference = nullptr;
    succeeded(lt_.matmul_preference_create(&preference));
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
        succeeded(lt_.matmul_preference_set_attribute(preference, attribute, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace_ == nullptr ? std::uint64_t(0) : workspace_bytes);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, std::uint32_t(form.a_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, std::uint32_t(form.b_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, std::uint32_t(form.c_alignment));
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, std::uint32_t(form.c_alignment));
    // The parts of a sum that is split are added in the order in which they are done where that is in place.
    if (deterministic_)
        set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            std::uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
    return {preference, lt_.matmul_preference_destroy};
}

// Before a use outside a capture. Relu must keep NaN from the first on; the third use looks for the fastest candidate.
void Plans::prepare(const Product& product, Plan& plan) noexcept {
    std::vector<Candidate>& candidates = plan.candidates;
    if (plan.uses++ == 0 && product.epilogue == Epilogue::bias_relu) {
        const Trial trial(product, product.form(), number_bytes());
        candidates.erase(candidates.begin(),
                         std::find_if(candidates.begin(), candidates.end(),
                                      [&](const Candidate& candidate) { return keeps_nan(trial, plan, candidate); }));
    }
    if (deterministic_ || candidates.size() < 2) return;
    if (plan.uses == timed_use)
        choose(product, plan);
    else
        queue_.untimed = true;
}

void Plans::choose(const Product& product, Plan& plan) noexcept {
    const Trial trial(product, product.form(), number_bytes());
    if (trial.room.data == nullptr) return;
    float least = milliseconds(trial.product, plan, plan.candidates.front());
    for (std::size_t k = 1; k < plan.candidates.size(); ++k) {
        const Candidate& candidate = plan.candidates[k];
        if (product.epilogue == Epilogue::bias_relu && !keeps_nan(trial, plan, candidate)) continue;
        const float time = milliseconds(trial.product, plan, candidate);
        if (time >= clearly_faster * least) continue;
        least = time;
        plan.candidates.front() = candidate;
    }
}

// g(NaN) is NaN, and cuBLASLt's relu has been seen to make it 0: a net that diverges would look healthy. NaN has bits
// that are set, 0 has none.
bool Plans::keeps_nan(const Trial& trial, const Plan& plan, const Candidate& candidate) noexcept {
    if (trial.room.data == nullptr) return false;
    Product product = trial.product;
    product.bias = trial.bias();
    std::uint64_t bits = 0;
    const std::size_t bias_bytes = std::size_t(product.form().m) * number_bytes();
    failure_.note(cudaMemsetAsync(trial.bias(), 0xff, bias_bytes, queue_.stream), "trying a product");
    if (multiply(product, plan, candidate) != CUBLAS_STATUS_SUCCESS) return false;
    failure_.note(cudaMemcpyAsync(&bits, product.c, number_bytes(), cudaMemcpyDeviceToHost, queue_.stream),
                  "trying a product");
    failure_.note(cudaStreamSynchronize(queue_.stream), "trying a product");
    return bits != 0;
}

float Plans::milliseconds(const Product& trial, const Plan& plan, const Candidate& candidate) noexcept {
    float time = std::numeric_limits<float>::infinity();
    if (multiply(trial, plan, candidate) != CUBLAS_STATUS_SUCCESS) return time;
    failure_.note(cudaEventRecord(begin_, queue_.stream), "timing a product");
    for (int run = 0; run < timed_runs; ++run) multiply(trial, plan, candidate);
    failure_.note(cudaEventRecord(end_, queue_.stream), "timing a product");
    failure_.note(cudaEventSynchronize(end_), "timing a product");
    failure_.note(cudaEventElapsedTime(&time, begin_, end_), "timing a product");
    return time;
}

cublasStatus_t Plans::multiply(const Product& product, const Plan& plan, const Candidate& candidate) noexcept {
    if (product.epilogue != Epilogue::none)
        succeeded(lt_.matmul_desc_set_attribute(plan.description.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &product.bias, sizeof product.bias));
    return lt_.matmul(handle_, plan.description.get(), product.alpha, product.a.data, plan.a.get(), product.b.data,
                      plan.b.get(), product.beta, product.c, plan.c.get(), product.c, plan.c.get(), &candidate.algo,
                      workspace_, candidate.workspaceSize, queue_.stream);
}

bool Plans::succeeded(cublasStatus_t status) noexcept {
    if (status == CUBLAS_STATUS_SUCCESS) return true;
    char text[160];
    std::snprintf(text, sizeof text, "cuBLASLt: %s", lt_.get_status_string(status));
    failure_.note(text);
    return false;
}

}  // namespace fastbp::cuda
