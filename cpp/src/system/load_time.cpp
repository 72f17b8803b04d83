#include "system/load_time.hpp"

#include <dlfcn.h>

#include <cstdlib>

namespace fastbp {
namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

// The absolute path without symbolic links; the path as it is if there is no such file.
std::string resolved(const std::string& path) {
    char* real = realpath(path.c_str(), nullptr);
    if (real == nullptr) return path;
    std::string result = real;
    std::free(real);
    return result;
}

std::string folder_of_this_code() {
    Dl_info info = {};
    if (dladdr(reinterpret_cast<const void*>(&at_load_time), &info) == 0 || info.dli_fname == nullptr) return ".";
    std::string file = info.dli_fname;
    if (file.find('/') == std::string::npos) file = "/proc/self/exe";  // linked into a program that PATH found
    file = resolved(file);
    return file.substr(0, file.rfind('/'));
}

LoadTime read() {
    LoadTime facts;
    facts.folder = folder_of_this_code();
    facts.blas = variable("FASTBP_BLAS");
    if (facts.blas.find('/') != std::string::npos && facts.blas.front() != '/') facts.blas = resolved(facts.blas);
    facts.isa = variable("FASTBP_ISA");
    facts.cuda = variable("FASTBP_CUDA");
    facts.num_threads = variable("FASTBP_NUM_THREADS");
    facts.omp_num_threads = variable("OMP_NUM_THREADS");
    facts.team = variable("FASTBP_TEAM");
    return facts;
}

// Read by the loader at the latest, or by an earlier initialiser that needs it.
[[maybe_unused]] const LoadTime& initialised = at_load_time();

}  // namespace

const LoadTime& at_load_time() {
    static const LoadTime& facts = *new LoadTime(read());  // threads may outlive every static object
    return facts;
}

}  // namespace fastbp
