// The one place that knows which backends exist.
#pragma once

#include <memory>
#include <string>

#include "seam/backend.hpp"

namespace fastbp {

// "cpu", "plain", or "cuda", also with a number as "cuda:1". Throws Error for a device that is not compiled in, or
// whose libraries are missing.
template <class Real>
std::unique_ptr<Backend<Real>> make_backend(const std::string& device, const BackendOptions& options = {});

// Throws what make_backend would for a device of this name, and makes nothing.
void check_device(const std::string& device);

// Whether `device` is one whose memory is not the process's.
bool is_distant(const std::string& device);

// What the CPU backend runs on, for reports.
struct CpuFacts {
    std::string isa, blas, blas_library, blas_core;
};
const CpuFacts& cpu_facts();

// The width of the registers that its loops are compiled for.
int cpu_vector_bytes();

// gemm functions that the caller found itself; see cpu/blas.hpp.
void offer_blas(const std::string& name, void* sgemm, void* dgemm);

}  // namespace fastbp
