// A net behind the C door: the model, its backend, and a free list of workspaces, one per concurrent call.
#pragma once

#include <memory>
#include <string>

#include "execution/free_slots.hpp"
#include "execution/workspace.hpp"
#include "fastbp/fastbp.h"
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

// Lends crews and takes them back, one per concurrent call.
template <class Real>
class FreeList {
  public:
    class Loan {
      public:
        Loan(FreeList& owner, std::unique_ptr<Crew<Real>> crew) : owner_(owner), crew_(std::move(crew)) {}
        ~Loan() { owner_.free_.give(std::move(crew_)); }
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Crew<Real>& operator*() const { return *crew_; }

      private:
        FreeList& owner_;
        std::unique_ptr<Crew<Real>> crew_;
    };

    // A kept one that fits, or a new one.
    Loan borrow(Backend<Real>& on, const Model& model, const Plan& plan, const Needs& needs) {
        auto crew = free_.take([&](const Crew<Real>& kept) { return kept.fits(plan, needs); });
        if (crew == nullptr) crew = std::make_unique<Crew<Real>>(on, model, plan, needs);
        return Loan(*this, std::move(crew));
    }

  private:
    FreeSlots<Crew<Real>> free_;
};

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
