#include "backend/make_backend.hpp"

#include "backend/cpu/blas.hpp"
#include "backend/cpu/cpu.hpp"
#include "backend/cpu/isa.hpp"
#include "backend/plain/plain.hpp"
#include "seam/error.hpp"

namespace fastbp {

template <class Real>
std::unique_ptr<Backend<Real>> make_backend(const std::string& device) {
    if (device == "cpu") return make_cpu_backend<Real>();
    if (device == "plain") return make_plain_backend<Real>();
    if (device == "cuda") throw Error(ErrorKind::runtime, "device 'cuda' is not compiled into this build of fastbp");
    throw Error(ErrorKind::value, "device is '" + device + "', expected 'cpu'");
}

template std::unique_ptr<Backend<float>> make_backend(const std::string&);
template std::unique_ptr<Backend<double>> make_backend(const std::string&);

CpuFacts cpu_facts() {
    const cpu::Blas& blas = cpu::blas();
    return {cpu::isa().name, blas.name, blas.library, blas.core};
}

void offer_blas(const std::string& name, void* sgemm, void* dgemm) {
    cpu::offer_blas(name, reinterpret_cast<cpu::Gemm<float>>(sgemm), reinterpret_cast<cpu::Gemm<double>>(dgemm));
}

}  // namespace fastbp
