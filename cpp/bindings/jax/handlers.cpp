// The operations of fastbp.jax as XLA calls them: typed FFI handlers over fastbp.hpp.
//
// Every buffer begins with an axis of problems, all of equal shape and independent of each other: one number of them
// for the results, and for an operand that number, or 1 where all problems share it. A buffer without elements is an
// operand that is not given, or a result that is not wanted.
#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fastbp/fastbp.hpp"
#include "xla/ffi/api/ffi.h"

namespace fastbp::jax {
namespace {

namespace ffi = xla::ffi;

struct Architecture {
    std::vector<std::int64_t> widths;
    std::vector<std::int32_t> activations;
    std::vector<double> parameters;

    Architecture(ffi::Span<const std::int64_t> d, ffi::Span<const std::int32_t> g, ffi::Span<const double> a)
        : widths(d.begin(), d.end()), activations(g.begin(), g.end()), parameters(a.begin(), a.end()) {}
    bool operator==(const Architecture&) const = default;
};

// The nets of one type, with the memory of their passes. An executable may ask for a net at any time: it is made again
// if it was released, or if too many others were used since.
template <class Real>
class Nets {
  public:
    static Nets& get() {
        static auto& nets = *new Nets;  // never destroyed: XLA's threads may outlive every static object
        return nets;
    }

    std::shared_ptr<const Net<Real>> of(const Architecture& architecture) {
        const std::lock_guard lock(mutex_);
        auto found = find(architecture);
        if (found == nets_.end()) {
            nets_.push_front({architecture, make(architecture)});
            if (nets_.size() > most) nets_.pop_back();
        } else if (found != nets_.begin()) {
            nets_.splice(nets_.begin(), nets_, found);
        }
        return nets_.front().second;
    }

    // A call that still uses the net ends before it is freed.
    void release(const Architecture& architecture) {
        const std::lock_guard lock(mutex_);
        if (const auto found = find(architecture); found != nets_.end()) nets_.erase(found);
    }

  private:
    static constexpr std::size_t most = 64;

    auto find(const Architecture& architecture) {
        return std::find_if(nets_.begin(), nets_.end(), [&](const auto& entry) { return entry.first == architecture; });
    }

    static std::shared_ptr<const Net<Real>> make(const Architecture& architecture) {
        fastbp_net_spec spec = spec_for(TypeOf<Real>::value);
        spec.layers = std::int32_t(architecture.activations.size());
        spec.widths = architecture.widths.data();
        spec.activations = architecture.activations.data();
        spec.activation_parameters = architecture.parameters.data();
        return std::make_shared<const Net<Real>>(spec);
    }

    std::mutex mutex_;
    std::list<std::pair<Architecture, std::shared_ptr<const Net<Real>>>> nets_;  // the last used first
};

// The buffers of a call: operands w(1), b(1), .. and the others behind them; results.
struct Buffers {
    std::vector<ffi::AnyBuffer> operands, results;

    Buffers(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets) {
        for (std::size_t i = 0; i < args.size(); ++i) operands.push_back(*args.get<ffi::AnyBuffer>(i));
        for (std::size_t i = 0; i < rets.size(); ++i) results.push_back(**rets.get<ffi::AnyBuffer>(i));
    }
};

// The parts of the buffers that belong to one problem.
template <class Real>
class Problem {
  public:
    Problem(const Buffers& buffers, std::size_t layers, std::int64_t number)
        : buffers_(buffers), layers_(layers), number_(number) {
        for (std::size_t k = 0; k < layers; ++k) {
            weights_.push_back(at(buffers.operands[2 * k]));
            biases_.push_back(at(buffers.operands[2 * k + 1]));
        }
    }

    // Operand i behind the parameters; null where it is not given.
    const Real* operand(std::size_t i) const { return at(buffers_.operands[2 * layers_ + i]); }
    fastbp_array rows_of(std::size_t i) const {
        const Real* const data = operand(i);
        if (data == nullptr) return {};
        const auto shape = buffers_.operands[2 * layers_ + i].dimensions();
        return rows(data, shape[1], shape[2]);
    }
    // X, the first of them, with the parameters.
    fastbp_data data() const {
        fastbp_data data = data_of(rows_of(0));
        data.weights = weights_.data();
        data.biases = biases_.data();
        return data;
    }
    // Null where it is not wanted.
    Real* result(std::size_t i) const { return at(buffers_.results[i]); }

  private:
    Real* at(const ffi::AnyBuffer& buffer) const {
        const std::int64_t problems = buffer.dimensions()[0], count = std::int64_t(buffer.element_count());
        if (count == 0) return nullptr;
        Real* const data = static_cast<Real*>(buffer.untyped_data());
        return problems == 1 ? data : data + number_ * (count / problems);
    }

    const Buffers& buffers_;
    const std::size_t layers_;
    const std::int64_t number_;
    std::vector<const void*> weights_, biases_;
};

template <class Real>
void forward(const fastbp_net* net, std::size_t, const Problem<Real>& problem) {
    const fastbp_data data = problem.data();
    require(fastbp_forward(net, nullptr, &data, problem.result(0), problem.result(1)));
}

template <class Real>
void pull_back(const fastbp_net* net, std::size_t layers, const Problem<Real>& problem) {
    const fastbp_data data = problem.data();
    const fastbp_array cotangent = problem.rows_of(2);
    std::vector<void*> weight_grads, bias_grads;
    for (std::size_t k = 0; k < layers; ++k) {
        weight_grads.push_back(problem.result(2 * k));
        bias_grads.push_back(problem.result(2 * k + 1));
    }
    fastbp_results results = results_for();
    if (weight_grads.front() != nullptr) {
        results.weight_grads = weight_grads.data();
        results.bias_grads = bias_grads.data();
    }
    results.input_grad = problem.result(2 * layers);
    require(fastbp_pull_back(net, nullptr, &data, problem.operand(1), &cotangent, &results));
}

template <class Real>
void push_forward(const fastbp_net* net, std::size_t, const Problem<Real>& problem) {
    const fastbp_data data = problem.data();
    fastbp_tangent tangent = tangent_for();
    tangent.params_dot = problem.operand(1);
    tangent.x_dot = problem.rows_of(2);
    tangent.cotangent = problem.rows_of(3);
    tangent.output_dot = problem.result(0);
    tangent.grad_dot = problem.result(1);
    tangent.input_grad_dot = problem.result(2);
    require(fastbp_push_forward(net, nullptr, &data, &tangent));
}

// `operation(net, layers, problem)` for each problem, with a net of the parameters' type.
template <class Operation>
ffi::Error each_problem(const Architecture& architecture, std::int64_t problems, const Buffers& buffers,
                        Operation operation) {
    const std::size_t layers = architecture.activations.size();
    const auto with = [&]<class Real>(const Net<Real>& net) {
        for (std::int64_t e = 0; e < problems; ++e) operation(net.handle(), layers, Problem<Real>(buffers, layers, e));
    };
    try {
        if (buffers.operands.front().element_type() == ffi::DataType::F32)
            with(*Nets<float>::get().of(architecture));
        else
            with(*Nets<double>::get().of(architecture));
        return ffi::Error::Success();
    } catch (const StatusError& error) {
        return ffi::Error::InvalidArgument(error.what());
    } catch (const std::exception& error) {
        return ffi::Error::Internal(error.what());
    }
}

using Widths = ffi::Span<const std::int64_t>;
using Activations = ffi::Span<const std::int32_t>;
using Parameters = ffi::Span<const double>;

ffi::Error forward_handler(Widths d, Activations g, Parameters a, std::int64_t problems, ffi::RemainingArgs args,
                           ffi::RemainingRets rets) {
    return each_problem({d, g, a}, problems, {args, rets}, [](auto... call) { forward(call...); });
}

ffi::Error pull_back_handler(Widths d, Activations g, Parameters a, std::int64_t problems, ffi::RemainingArgs args,
                             ffi::RemainingRets rets) {
    return each_problem({d, g, a}, problems, {args, rets}, [](auto... call) { pull_back(call...); });
}

ffi::Error push_forward_handler(Widths d, Activations g, Parameters a, std::int64_t problems, ffi::RemainingArgs args,
                                ffi::RemainingRets rets) {
    return each_problem({d, g, a}, problems, {args, rets}, [](auto... call) { push_forward(call...); });
}

auto binding() {
    return ffi::Ffi::Bind()
        .Attr<Widths>("widths")
        .Attr<Activations>("activations")
        .Attr<Parameters>("parameters")
        .Attr<std::int64_t>("problems")
        .RemainingArgs()
        .RemainingRets();
}

}  // namespace
}  // namespace fastbp::jax

// Frees the nets of an architecture that no JAX function uses any more; the attributes are those of the handlers.
extern "C" void fastbp_jax_release(const std::int64_t* widths, const std::int32_t* activations,
                                   const double* parameters, std::int64_t layers) {
    try {
        const auto count = std::size_t(layers);
        const fastbp::jax::Architecture architecture({widths, count + 1}, {activations, count}, {parameters, count});
        fastbp::jax::Nets<float>::get().release(architecture);
        fastbp::jax::Nets<double>::get().release(architecture);
    } catch (const std::bad_alloc&) {  // the nets stay until others take their places
    }
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(fastbp_jax_forward, fastbp::jax::forward_handler, fastbp::jax::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(fastbp_jax_pull_back, fastbp::jax::pull_back_handler, fastbp::jax::binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(fastbp_jax_push_forward, fastbp::jax::push_forward_handler, fastbp::jax::binding());
