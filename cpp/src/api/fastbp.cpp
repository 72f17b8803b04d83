// The extern "C" functions: each checks the sizes of its structs, calls the core, and converts exceptions to a status
// and a text.
#include "fastbp/fastbp.h"

#include <string>

#include "api/checks.hpp"
#include "api/guard.hpp"
#include "api/net.hpp"
#include "api/sized.hpp"
#include "backend/make_backend.hpp"
#include "execution/thread_pool.hpp"
#include "execution/threads.hpp"
#include "seam/build_id.hpp"
#include "seam/error.hpp"

namespace {

using fastbp::check_pointer;
using fastbp::Error;
using fastbp::ErrorKind;
using fastbp::guarded;
using fastbp::Sized;

void check_params(const fastbp_net& net, const void* params, const fastbp_data& data) {
    if (params != nullptr) return;
    if (data.weights == nullptr || data.biases == nullptr) check_pointer(params, "params");
    for (std::size_t k = 0; k < net.model.layers.size(); ++k) {
        check_pointer(data.weights[k], "one of the weights");
        check_pointer(data.biases[k], "one of the biases");
    }
    if (net.model.has_penalty())
        throw Error(ErrorKind::value, "a net with penalties needs its parameters in one array");
}

void check_results(const fastbp_net& net, const fastbp_results& results) {
    if (results.grad != nullptr || (results.weight_grads == nullptr && results.bias_grads == nullptr)) return;
    check_pointer(results.weight_grads, "weight_grads");
    check_pointer(results.bias_grads, "bias_grads");
    for (std::size_t k = 0; k < net.model.layers.size(); ++k) {
        check_pointer(results.weight_grads[k], "one of the weight_grads");
        check_pointer(results.bias_grads[k], "one of the bias_grads");
    }
    if (net.model.has_penalty()) throw Error(ErrorKind::value, "a net with penalties needs its gradient in one array");
}

// Asks a caller's poll, which may look at the progress in its epoch, where the library works on a copy of it.
struct ProgressRelay {
    fastbp_poll poll;
    void* context;
    Sized<fastbp_epoch>& epoch;

    static int ask(void* self) {
        const ProgressRelay& relay = *static_cast<ProgressRelay*>(self);
        relay.epoch.copy_back();
        return relay.poll(relay.context);
    }
};

// `zero` says what 0 stands for.
void check_thread_count(std::int32_t n, const std::string& zero) {
    if (n >= 0) return;
    const std::string expected = "expected a number of threads >= 1, or 0 for " + zero;
    throw Error(ErrorKind::value, "n is " + std::to_string(n) + ", " + expected);
}

}  // namespace

extern "C" {

const char* fastbp_version(void) { return FASTBP_VERSION; }
const char* fastbp_build_id(void) { return fastbp::build_id(); }
const char* fastbp_last_error(void) { return fastbp::last_error().shown(); }

fastbp_status fastbp_get_config(fastbp_config* config) {
    return guarded([&] {
        Sized<fastbp_config> own(config, "config");
        const fastbp::CpuFacts& facts = fastbp::cpu_facts();
        own->isa = facts.isa.c_str();
        own->blas = facts.blas.c_str();
        own->blas_library = facts.blas_library.c_str();
        own->blas_core = facts.blas_core.c_str();
    });
}

fastbp_status fastbp_offer_blas(const char* name, void* sgemm, void* dgemm) {
    return guarded([&] {
        check_pointer(name, "name");
        fastbp::offer_blas(name, sgemm, dgemm);
    });
}

int32_t fastbp_get_num_threads(void) { return fastbp::num_threads_now(); }

fastbp_status fastbp_set_num_threads(int32_t n) {
    return guarded([&] {
        check_thread_count(n, "the default");
        fastbp::set_num_threads(n);
    });
}

int32_t fastbp_get_thread_limit(void) { return fastbp::thread_limit(); }

fastbp_status fastbp_set_thread_limit(int32_t n) {
    return guarded([&] {
        check_thread_count(n, "no limit");
        fastbp::set_thread_limit(n);
    });
}

int32_t fastbp_jobs_taken(int64_t* counts, int32_t size) {
    int32_t members = 0;
    guarded([&] {
        for (const long taken : fastbp::ThreadPool::get().jobs_taken()) {
            if (counts != nullptr && members < size) counts[members] = taken;
            ++members;
        }
    });
    return members;
}

fastbp_status fastbp_net_create(const fastbp_net_spec* spec, fastbp_net** net) {
    return guarded([&] {
        Sized<const fastbp_net_spec> own(spec, "spec");
        check_pointer(net, "net");
        *net = fastbp::make_net(*own).release();
    });
}

void fastbp_net_destroy(fastbp_net* net) { delete net; }

int64_t fastbp_parameter_count(const fastbp_net* net) { return net == nullptr ? 0 : net->model.parameter_count; }

int64_t fastbp_kept_size(const fastbp_net* net, int64_t n) {
    return net == nullptr || n < 0 ? 0 : net->model.kept_size(n);
}

fastbp_status fastbp_check(const fastbp_net* net, const fastbp_data* data, int32_t targets) {
    return guarded([&] {
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        if (targets < FASTBP_CHECK_ROWS || targets > FASTBP_CHECK_SUM)
            throw Error(ErrorKind::value,
                        "targets is " + std::to_string(targets) + ", expected FASTBP_CHECK_ROWS, _MEAN or _SUM");
        net->check(*own, targets);
    });
}

fastbp_status fastbp_forward(const fastbp_net* net, const void* params, const fastbp_data* data, void* out,
                             void* kept) {
    return guarded([&] {
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        check_params(*net, params, *own);
        net->forward(params, *own, out, kept);
    });
}

fastbp_status fastbp_evaluate(const fastbp_net* net, const void* params, const fastbp_data* data,
                              fastbp_results* results) {
    return guarded([&] {
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        Sized<fastbp_results> wanted(results, "results");
        check_params(*net, params, *own);
        check_results(*net, *wanted);
        net->evaluate(params, *own, *wanted);
    });
}

fastbp_status fastbp_pull_back(const fastbp_net* net, const void* params, const fastbp_data* data, const void* kept,
                               const fastbp_array* cotangent, fastbp_results* results) {
    return guarded([&] {
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        Sized<fastbp_results> wanted(results, "results");
        check_params(*net, params, *own);
        check_results(*net, *wanted);
        check_pointer(kept, "kept");
        check_pointer(cotangent, "cotangent");
        net->pull_back(params, *own, kept, *cotangent, *wanted);
    });
}

fastbp_status fastbp_push_forward(const fastbp_net* net, const void* params, const fastbp_data* data,
                                  fastbp_tangent* tangent) {
    return guarded([&] {
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        Sized<fastbp_tangent> wanted(tangent, "tangent");
        check_params(*net, params, *own);
        net->push_forward(params, *own, *wanted);
    });
}

int32_t fastbp_moment_count(const fastbp_step_rule* rule) {
    int32_t count = -1;
    guarded([&] { count = fastbp::moment_count(fastbp::step_rule(rule)); });
    return count;
}

fastbp_status fastbp_run_epoch(const fastbp_net* net, void* params, const fastbp_data* data, fastbp_epoch* epoch) {
    return guarded([&] {
        Sized<fastbp_epoch> own_epoch(epoch, "epoch");
        own_epoch->loss_sum = own_epoch->weight_sum = 0;
        own_epoch->steps_done = 0;
        own_epoch->refused = FASTBP_REFUSED_NOTHING;
        own_epoch->refused_layer = -1;
        check_pointer(net, "net");
        Sized<const fastbp_data> own(data, "data");
        check_pointer(params, "params");
        check_pointer(own_epoch->lr, "epoch.lr");
        if (!own_epoch.is_copy() || own->poll == nullptr) return net->run_epoch(params, *own, *own_epoch);
        ProgressRelay relay{own->poll, own->poll_context, own_epoch};
        fastbp_data relayed = *own;
        relayed.poll = &ProgressRelay::ask;
        relayed.poll_context = &relay;
        net->run_epoch(params, relayed, *own_epoch);
    });
}

}  // extern "C"
