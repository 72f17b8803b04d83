#include "backend/cuda/library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace fastbp::cuda {
namespace {

constexpr std::size_t major_version = 13;  // of the headers, and part of the library's name

// The files to try, in this order. The first one is found by its name if the process has loaded it already. $ORIGIN is
// the folder of this plugin, in an installation site-packages/fastbp/lib.
std::vector<std::string> places() {
    const char* variable = std::getenv("FASTBP_CUBLASLT");
    if (variable != nullptr && *variable != '\0') return {variable};
    return {"libcublasLt.so.13", "$ORIGIN/../../nvidia/cu13/lib/libcublasLt.so.13"};
}

struct Search {
    Library table;
    bool found = false;
    std::string tried;

    Search() {
        for (const std::string& place : places()) {
            const std::string why_not = fill(place);
            found = why_not.empty();
            if (found) return;
            tried += (tried.empty() ? "" : "; ") + why_not;
        }
    }

  private:
    // The reason why the file cannot be used, or an empty text.
    std::string fill(const std::string& place) {
        void* file = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (file == nullptr) {
            const char* why = dlerror();
            return why != nullptr ? why : place + ": cannot be opened";
        }
        const char* lacking = nullptr;
        const auto find = [&](const char* name, auto& function) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(file, name));
            if (function == nullptr) lacking = name;
        };
        find("cublasLtGetVersion", table.get_version);
        find("cublasLtGetStatusString", table.get_status_string);
        find("cublasLtCreate", table.create);
        find("cublasLtDestroy", table.destroy);
        find("cublasLtMatmulDescCreate", table.matmul_desc_create);
        find("cublasLtMatmulDescDestroy", table.matmul_desc_destroy);
        find("cublasLtMatmulDescSetAttribute", table.matmul_desc_set_attribute);
        find("cublasLtMatrixLayoutCreate", table.matrix_layout_create);
        find("cublasLtMatrixLayoutDestroy", table.matrix_layout_destroy);
        find("cublasLtMatmulPreferenceCreate", table.matmul_preference_create);
        find("cublasLtMatmulPreferenceDestroy", table.matmul_preference_destroy);
        find("cublasLtMatmulPreferenceSetAttribute", table.matmul_preference_set_attribute);
        find("cublasLtMatmulAlgoGetHeuristic", table.matmul_algo_get_heuristic);
        find("cublasLtMatmul", table.matmul);
        if (lacking != nullptr) return place + ": has no " + lacking;
        const std::size_t major = table.get_version() / 10000;
        if (major != major_version) return place + ": is version " + std::to_string(major) + ", expected 13";
        return {};
    }
};

const Search& search() {
    static const Search once;
    return once;
}

}  // namespace

const Library* library() noexcept { return search().found ? &search().table : nullptr; }

const char* library_missing() noexcept {
    static const std::string text =
        search().found ? ""
                       : "cuBLASLt is missing; tried " + search().tried +
                             ". pip install 'fastbp[cuda13]' brings it, or FASTBP_CUBLASLT names the file";
    return text.c_str();
}

}  // namespace fastbp::cuda
