// A net behind the C interface: the model, and the calls of its two kinds of numbers.
#pragma once

#include <memory>
#include <string>

#include "execution/model.hpp"
#include "fastbp/fastbp.h"
#include "seam/backend.hpp"
#include "seam/error.hpp"

// The handle. Its two kinds differ in the type of their numbers.
struct fastbp_net {
    fastbp::Model model;

    explicit fastbp_net(fastbp::Model m) : model(std::move(m)) {}
    virtual ~fastbp_net() = default;
    virtual void check(const fastbp_data& data, std::int32_t targets) const = 0;
    virtual void forward(const void* params, const fastbp_data& data, void* out, void* kept) const = 0;
    virtual void evaluate(const void* params, const fastbp_data& data, fastbp_results& results) const = 0;
    virtual void pull_back(const void* params, const fastbp_data& data, const void* kept, const fastbp_array& cotangent,
                           fastbp_results& results) const = 0;
    virtual void push_forward(const void* params, const fastbp_data& data, fastbp_tangent& tangent) const = 0;
    virtual void run_epoch(void* params, const fastbp_data& data, fastbp_epoch& epoch) const = 0;
};

namespace fastbp {

// The stream of a device that this thread's calls are enqueued on; null: the device's default.
void*& current_stream();

// All that a call asks of its backend stands between begin_call and end_call.
template <class Real>
class Call {
  public:
    // Throws where it cannot begin; nothing is done then.
    explicit Call(Backend<Real>& on) : begun_(on) { finish(); }
    // Throws what the backend has met.
    void finish() const {
        if (const char* failure = begun_.on.failure()) throw Error(ErrorKind::runtime, failure);
    }

  private:
    struct Begun {
        Backend<Real>& on;
        explicit Begun(Backend<Real>& given) : on(given) { on.begin_call(current_stream()); }
        ~Begun() { on.end_call(); }
        Begun(const Begun&) = delete;
    };
    const Begun begun_;
};

inline std::string device_of(const fastbp_net_spec& spec) { return spec.device == nullptr ? "cpu" : spec.device; }

// What a spec says of its products. Throws Error.
Precision precision_of(const fastbp_net_spec& spec);

// Builds a model from a spec. Throws Error naming the field that does not fit.
Model make_model(const fastbp_net_spec& spec);

std::unique_ptr<fastbp_net> make_net(const fastbp_net_spec& spec);

}  // namespace fastbp
