#include "backend/make_backend.hpp"

#include "backend/cpu/blas.hpp"
#include "backend/cpu/cpu.hpp"
#include "backend/cpu/isa.hpp"
#include "backend/cuda_plugin.hpp"
#include "backend/plain/plain.hpp"
#include "seam/error.hpp"
#include "system/made_once.hpp"

namespace fastbp {

namespace {

// The number behind "cuda" or "cuda:"; -1 where the name is another.
int cuda_ordinal(const std::string& device) {
    if (device == "cuda") return 0;
    if (device.rfind("cuda:", 0) != 0 || device.size() < 6 || device.size() > 8) return -1;
    if (device.find_first_not_of("0123456789", 5) != std::string::npos) return -1;
    return std::stoi(device.substr(5));
}

}  // namespace

bool is_distant(const std::string& device) { return cuda_ordinal(device) >= 0; }

void check_device(const std::string& device) {
    if (device == "cpu" || device == "plain") return;
    if (!is_distant(device))
        throw Error(ErrorKind::value, "device is '" + device + "', expected 'cpu', 'cuda' or 'cuda:' and a number");
    if (const std::string why = cuda_unavailable(cuda_ordinal(device)); !why.empty())
        throw Error(ErrorKind::runtime, why);
}

template <class Real>
std::unique_ptr<Backend<Real>> make_backend(const std::string& device, const BackendOptions& options) {
    check_device(device);
    if (device == "cpu") return make_cpu_backend<Real>();
    if (device == "plain") return make_plain_backend<Real>();
    return make_cuda_backend<Real>(cuda_ordinal(device), options);
}

template std::unique_ptr<Backend<float>> make_backend(const std::string&, const BackendOptions&);
template std::unique_ptr<Backend<double>> make_backend(const std::string&, const BackendOptions&);

const CpuFacts& cpu_facts() {
    static constinit MadeOnce<CpuFacts> facts;
    return facts.get([] {
        const cpu::Blas& blas = cpu::blas();
        return CpuFacts{cpu::isa().name, blas.name, blas.library, blas.core};
    });
}

int cpu_vector_bytes() { return cpu::isa().vector_bytes; }

void offer_blas(const std::string& name, void* sgemm, void* dgemm) {
    cpu::offer_blas(name, reinterpret_cast<cpu::Gemm<float>>(sgemm), reinterpret_cast<cpu::Gemm<double>>(dgemm));
}

}  // namespace fastbp
