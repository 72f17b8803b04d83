#include "backend/cpu/blas.hpp"

#include <dlfcn.h>

#include <filesystem>
#include <initializer_list>

#include "backend/cpu/product_gate.hpp"
#include "seam/error.hpp"
#include "system/affinity.hpp"
#include "system/load_time.hpp"
#include "system/made_once.hpp"

namespace fastbp::cpu {
namespace {

// What the caller offers. ForkLock guards both.
Blas& offered() {
    static Blas& table = *new Blas;
    return table;
}
bool in_use = false;

MadeOnce<Blas> table_in_use;

// Our own copy, bound to itself even where another OpenBLAS is loaded with global symbols. The sanitizers end a process
// that asks for that, and the process may be someone else's, whose sanitizer we were not compiled for.
void* open_library(const std::string& path) {
    int flags = RTLD_NOW | RTLD_LOCAL;
#if defined(RTLD_DEEPBIND)
    const bool sanitized =
        dlsym(RTLD_DEFAULT, "__asan_init") != nullptr || dlsym(RTLD_DEFAULT, "__tsan_init") != nullptr;
    if (!sanitized) flags |= RTLD_DEEPBIND;
#endif
    return dlopen(path.c_str(), flags);
}

template <class Function>
Function find(void* library, std::initializer_list<const char*> names) {
    for (const char* name : names)
        if (void* symbol = dlsym(library, name)) return reinterpret_cast<Function>(symbol);
    return nullptr;
}

// OpenBLAS is told to use one thread; other libraries know no such call.
void limit_threads(void* library, Blas& table) {
    using CoreName = const char* (*)();
    table.set_threads =
        find<decltype(table.set_threads)>(library, {"scipy_openblas_set_num_threads", "openblas_set_num_threads"});
    if (table.set_threads != nullptr)
        table.get_threads =
            find<decltype(table.get_threads)>(library, {"scipy_openblas_get_num_threads", "openblas_get_num_threads"});
    table.hold_to_one_thread();
    if (auto core = find<CoreName>(library, {"scipy_openblas_get_corename", "openblas_get_corename"}))
        table.core = core();
}

// OpenBLAS ends the process if it cannot allocate a buffer. It does so when it is loaded and, in the build that comes
// with the package, again for the first product.
constexpr std::size_t bundled_buffer = std::size_t(32) << 20, other_buffer = std::size_t(128) << 20;

std::size_t buffer_of(const Blas& table) { return table.name == "bundled" ? bundled_buffer : other_buffer; }

// Throws OutOfMemory if there is not the memory for a library and its buffers. (A path without '/' has no size here.)
void require_memory(const Blas& table, const std::string& path) {
    std::error_code failed;
    const auto size = std::filesystem::file_size(path, failed);
    const std::size_t bytes =
        (failed ? bundled_buffer : std::size_t(size)) + 2 * buffer_of(table) + (std::size_t(8) << 20);
    if (!memory_is_available(bytes)) throw OutOfMemory(bytes, "cpu");
}

// Make a first product, so that the library has one buffer, and open the gate.
void open_gate(const Blas& table) {
    if (table.get_threads == nullptr) return ProductGate::get().open(0);
    constexpr int n = 128;  // smaller products need no buffer on some processors
    static float a[n * n], c[n * n];
    constexpr float one = 1, zero = 0;
    table.sgemm("N", "N", &n, &n, &n, &one, a, &n, a, &n, &zero, c, &n);
    ProductGate::get().open(buffer_of(table));
}

bool fill(Blas& table, const std::string& path, std::string& tried) {
    tried += (tried.empty() ? "" : "; ") + path;
    require_memory(table, path);
    void* library = open_library(path);
    if (library == nullptr) {
        const char* why = dlerror();
        tried += std::string(" (") + (why != nullptr ? why : "cannot be opened") + ")";
        return false;
    }
    table.library = path;
    table.sgemm = find<Gemm<float>>(library, {"scipy_sgemm_", "sgemm_"});
    table.dgemm = find<Gemm<double>>(library, {"scipy_dgemm_", "dgemm_"});
    if (table.sgemm == nullptr || table.dgemm == nullptr) {
        tried += " (has no sgemm_ and dgemm_)";
        return false;
    }
    limit_threads(library, table);
    return true;
}

void adopt(Blas& table, const std::string& name, std::string& tried) {
    in_use = true;
    if (offered().name != name || offered().sgemm == nullptr) {
        tried = "SciPy's functions, which the Python package hands over (is SciPy installed?)";
        return;
    }
    table = offered();
    require_memory(table, "");
    Dl_info info;
    if (dladdr(reinterpret_cast<const void*>(table.sgemm), &info) == 0 || info.dli_fname == nullptr) return;
    table.library = info.dli_fname;
    if (void* library = dlopen(info.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) limit_threads(library, table);
}

// OpenBLAS starts a thread for each processor of the loading thread's mask; ours would only ever idle. So the mask has
// one processor meanwhile. (OPENBLAS_NUM_THREADS would have the same effect, but changing the environment is unsafe
// while other threads run, and programs that they start would inherit the change.)
class OneProcessorWhileLoading {
  public:
    OneProcessorWhileLoading() : before_(Affinity::of_this_thread()), during_(before_.current_processor_only()) {
        is_applied_ = during_.apply();
    }
    ~OneProcessorWhileLoading() {
        if (is_applied_ && Affinity::of_this_thread() == during_) before_.apply();
    }
    OneProcessorWhileLoading(const OneProcessorWhileLoading&) = delete;
    OneProcessorWhileLoading& operator=(const OneProcessorWhileLoading&) = delete;

  private:
    Affinity before_, during_;
    bool is_applied_ = false;
};

Blas load() {
    const OneProcessorWhileLoading guard;
    const std::string wanted = at_load_time().blas.empty() ? "bundled" : at_load_time().blas;
    Blas table;
    table.name = wanted;
    std::string tried;
    if (wanted == "none") return table;
    if (wanted == "scipy") {
        adopt(table, wanted, tried);
    } else if (wanted == "system") {
        for (const char* name : {"libopenblas.so.0", "libblas.so.3", "libmkl_rt.so.3", "libmkl_rt.so.2"})
            if (fill(table, name, tried)) break;
    } else if (wanted == "bundled") {
        fill(table, at_load_time().folder + "/libscipy_openblas-fastbp.so", tried);
    } else if (wanted.find('/') != std::string::npos) {
        fill(table, wanted, tried);
    } else {
        throw Error(ErrorKind::value,
                    "FASTBP_BLAS is '" + wanted +
                        "', expected bundled, scipy, system, none, or the path of a library (with a '/')");
    }
    if (table.sgemm == nullptr || table.dgemm == nullptr)
        throw Error(ErrorKind::runtime, "no BLAS for FASTBP_BLAS=" + wanted + "; tried " + tried +
                                            ". FASTBP_BLAS=none runs without one, slowly");
    open_gate(table);
    return table;
}

}  // namespace

const Blas& blas() { return table_in_use.get(load); }

void offer_blas(const std::string& name, Gemm<float> sgemm, Gemm<double> dgemm) {
    const ForkLock lock;
    if (in_use) return;
    offered().name = name;
    offered().sgemm = sgemm;
    offered().dgemm = dgemm;
}

}  // namespace fastbp::cpu
