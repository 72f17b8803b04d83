#include "backend/cuda_plugin.hpp"

#include <dlfcn.h>

#include "seam/build_id.hpp"
#include "seam/error.hpp"
#include "system/load_time.hpp"
#include "system/made_once.hpp"

namespace fastbp {
namespace {

// The plugin's functions, or the reason why they are missing.
struct Plugin {
    const char* (*unavailable)(int) = nullptr;
    Backend<float>* (*make32)(int, const BackendOptions*, char* why, std::size_t room) = nullptr;
    Backend<double>* (*make64)(int, const BackendOptions*, char* why, std::size_t room) = nullptr;
    std::string missing;
};

// The plugin beside libfastbp.so, or the file that FASTBP_CUDA names.
std::string plugin_path() {
    const LoadTime& facts = at_load_time();
    return facts.cuda.starts_with('/') ? facts.cuda : facts.folder + "/libfastbp_cuda.so";
}

Plugin open_plugin() {
    Plugin plugin;
    const std::string path = plugin_path();
    void* file = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (file == nullptr) {
        plugin.missing =
            "device 'cuda' is not compiled into this build of fastbp: install it with FASTBP_CUDA=1 set (" +
            std::string(dlerror()) + ")";
        return plugin;
    }
    using BuildId = const char* (*)();
    const auto build = reinterpret_cast<BuildId>(dlsym(file, "fastbp_cuda_build_id"));
    if (build == nullptr || std::string(build()) != build_id()) {
        plugin.missing = path + " belongs to another build of fastbp (" + (build == nullptr ? "unknown" : build()) +
                         "), expected " + build_id();
        return plugin;
    }
    plugin.unavailable = reinterpret_cast<decltype(plugin.unavailable)>(dlsym(file, "fastbp_cuda_unavailable"));
    plugin.make32 = reinterpret_cast<decltype(plugin.make32)>(dlsym(file, "fastbp_cuda_make_backend32"));
    plugin.make64 = reinterpret_cast<decltype(plugin.make64)>(dlsym(file, "fastbp_cuda_make_backend64"));
    return plugin;
}

// The plugin is never closed, because memory on the device may outlive every net.
const Plugin& plugin() {
    static constinit MadeOnce<Plugin> opened;
    return opened.get(open_plugin);
}

auto maker(const Plugin& plugin, float) { return plugin.make32; }
auto maker(const Plugin& plugin, double) { return plugin.make64; }

}  // namespace

std::string cuda_unavailable(int ordinal) {
    if (!plugin().missing.empty()) return plugin().missing;
    const char* why = plugin().unavailable(ordinal);
    return why == nullptr ? "" : why;
}

template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options) {
    char why[512] = {};
    std::unique_ptr<Backend<Real>> made(maker(plugin(), Real())(ordinal, &options, why, sizeof why));
    if (made != nullptr) return made;
    if (why[0] != 0) throw Error(ErrorKind::runtime, why);
    throw std::bad_alloc();
}

template std::unique_ptr<Backend<float>> make_cuda_backend(int, const BackendOptions&);
template std::unique_ptr<Backend<double>> make_cuda_backend(int, const BackendOptions&);

}  // namespace fastbp
