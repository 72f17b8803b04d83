// BLAS as a table of functions, filled at run time: from the OpenBLAS that comes with the package, or from what
// FASTBP_BLAS names. Called single-threaded, from fastbp's own threads: multi-threaded OpenBLAS under concurrent
// callers has returned silently wrong numbers (OpenBLAS #5836).
#pragma once

#include <string>

namespace fastbp::cpu {

// The Fortran interface, which every BLAS has: column-major, all arguments by address, 32-bit integers.
template <class Real>
using Gemm = void (*)(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
                      const Real* alpha, const Real* a, const int* lda, const Real* b, const int* ldb, const Real* beta,
                      Real* c, const int* ldc);

struct Blas {
    std::string name;     // bundled, scipy, system, none, or the path of a library
    std::string library;  // the file the functions come from, where known
    std::string core;     // OpenBLAS's own word for the processor it runs on, where it has one
    Gemm<float> sgemm = nullptr;
    Gemm<double> dgemm = nullptr;
    // OpenBLAS's own number of threads, which must be one; null in other libraries.
    int (*get_threads)() = nullptr;
    void (*set_threads)(int) = nullptr;

    // Others in the process may raise it behind our back: threadpoolctl finds every OpenBLAS and sets them all.
    void hold_to_one_thread() const {
        if (get_threads != nullptr && get_threads() != 1) set_threads(1);
    }

    Gemm<float> gemm(float) const { return sgemm; }
    Gemm<double> gemm(double) const { return dgemm; }
};

// The table in use, filled at the first call. Throws Error naming what was tried where FASTBP_BLAS cannot be had.
const Blas& blas();

// Functions a caller found itself (FASTBP_BLAS=scipy: Python hands them over). Must come before the first blas().
void offer_blas(const std::string& name, Gemm<float> sgemm, Gemm<double> dgemm);

}  // namespace fastbp::cpu
