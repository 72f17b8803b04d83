// cuBLASLt as a table of functions, filled at run time. The plugin is not linked to it, so that fastbp loads without it
// and can name what is missing.
#pragma once

#include <cublasLt.h>

namespace fastbp::cuda {

struct Library {
    decltype(&cublasLtGetVersion) get_version = nullptr;
    decltype(&cublasLtGetStatusString) get_status_string = nullptr;
    decltype(&cublasLtCreate) create = nullptr;
    decltype(&cublasLtDestroy) destroy = nullptr;
    decltype(&cublasLtMatmulDescCreate) matmul_desc_create = nullptr;
    decltype(&cublasLtMatmulDescDestroy) matmul_desc_destroy = nullptr;
    decltype(&cublasLtMatmulDescSetAttribute) matmul_desc_set_attribute = nullptr;
    decltype(&cublasLtMatrixLayoutCreate) matrix_layout_create = nullptr;
    decltype(&cublasLtMatrixLayoutDestroy) matrix_layout_destroy = nullptr;
    decltype(&cublasLtMatmulPreferenceCreate) matmul_preference_create = nullptr;
    decltype(&cublasLtMatmulPreferenceDestroy) matmul_preference_destroy = nullptr;
    decltype(&cublasLtMatmulPreferenceSetAttribute) matmul_preference_set_attribute = nullptr;
    decltype(&cublasLtMatmulAlgoGetHeuristic) matmul_algo_get_heuristic = nullptr;
    decltype(&cublasLtMatmul) matmul = nullptr;
};

// The table, filled once per process, or nullptr if the library is missing. FASTBP_CUBLASLT names another file.
const Library* library() noexcept;

// Why library() is nullptr: the files that were tried, and how to install the library. Otherwise an empty text.
const char* library_missing() noexcept;

}  // namespace fastbp::cuda
