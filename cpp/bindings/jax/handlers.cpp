// The operations of fastbp.jax as XLA calls them: typed FFI handlers over fastbp.hpp.
//
// Every buffer begins with an axis of problems, all of equal shape and independent of each other: one number of them
// for the results, and for an operand that number, or 1 where all problems share it. A buffer without elements is an
// operand that is not given, or a result that is not wanted.
#include <compare>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "fastbp/fastbp.hpp"
#include "xla/ffi/api/ffi.h"

namespace fastbp::jax {
namespace {

namespace ffi = xla::ffi;
using Operand = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;

struct Architecture {
    std::vector<std::int64_t> widths;
    std::vector<std::int32_t> activations;
    std::vector<double> parameters;

    Architecture(ffi::Span<const std::int64_t> d, ffi::Span<const std::int32_t> g, ffi::Span<const double> a)
        : widths(d.begin(), d.end()), activations(g.begin(), g.end()), parameters(a.begin(), a.end()) {}
    auto operator<=>(const Architecture&) const = default;
};

// Nets are kept, with the memory of their passes, as long as the process: an executable may call for one at any time.
template <class Real>
const Net<Real>& net_of(const Architecture& architecture) {
    static std::mutex mutex;
    static auto& nets = *new std::map<Architecture, Net<Real>>;
    const std::lock_guard lock(mutex);
    auto found = nets.find(architecture);
    if (found == nets.end()) {
        fastbp_net_spec spec = {};
        spec.size = sizeof spec;
        spec.type = TypeOf<Real>::value;
        spec.layers = std::int32_t(architecture.activations.size());
        spec.widths = architecture.widths.data();
        spec.activations = architecture.activations.data();
        spec.activation_parameters = architecture.parameters.data();
        found = nets.emplace(architecture, Net<Real>(spec)).first;
    }
    return found->second;
}

// A buffer's part that belongs to one problem; null where there is none.
template <class Real, class Buffer>
Real* at(Buffer& buffer, std::int64_t problem) {
    const std::int64_t problems = buffer.dimensions()[0], count = std::int64_t(buffer.element_count());
    if (count == 0) return nullptr;
    Real* const data = static_cast<Real*>(buffer.untyped_data());
    return problems == 1 ? data : data + problem * (count / problems);
}

template <class Real>
fastbp_array rows_at(const Operand& buffer, std::int64_t problem) {
    const Real* const data = at<const Real>(buffer, problem);
    if (data == nullptr) return {};
    const auto shape = buffer.dimensions();
    return rows(data, shape[1], shape[2]);
}

template <class Real>
void forward(const Net<Real>& net, std::int64_t e, const Operand& params, const Operand& x, Result& out, Result& kept) {
    const fastbp_data data = data_of(rows_at<Real>(x, e));
    require(fastbp_forward(net.handle(), at<const Real>(params, e), &data, at<Real>(*out, e), at<Real>(*kept, e)));
}

template <class Real>
void pull_back(const Net<Real>& net, std::int64_t e, const Operand& params, const Operand& x, const Operand& kept,
               const Operand& cotangent, Result& grad, Result& input_grad) {
    const fastbp_data data = data_of(rows_at<Real>(x, e));
    const fastbp_array c = rows_at<Real>(cotangent, e);
    fastbp_results results = results_for();
    results.grad = at<Real>(*grad, e);
    results.input_grad = at<Real>(*input_grad, e);
    require(fastbp_pull_back(net.handle(), at<const Real>(params, e), &data, at<const Real>(kept, e), &c, &results));
}

template <class Real>
void push_forward(const Net<Real>& net, std::int64_t e, const Operand& params, const Operand& x,
                  const Operand& params_dot, const Operand& x_dot, const Operand& cotangent, Result& output_dot,
                  Result& grad_dot, Result& input_grad_dot) {
    const fastbp_data data = data_of(rows_at<Real>(x, e));
    fastbp_tangent tangent = {};
    tangent.size = sizeof tangent;
    tangent.params_dot = at<const Real>(params_dot, e);
    tangent.x_dot = rows_at<Real>(x_dot, e);
    tangent.cotangent = rows_at<Real>(cotangent, e);
    tangent.output_dot = at<Real>(*output_dot, e);
    tangent.grad_dot = at<Real>(*grad_dot, e);
    tangent.input_grad_dot = at<Real>(*input_grad_dot, e);
    require(fastbp_push_forward(net.handle(), at<const Real>(params, e), &data, &tangent));
}

// `operation(net, problem)` for each problem, with a net of the parameters' type.
template <class Operation>
ffi::Error each_problem(const Architecture& architecture, const Operand& params, std::int64_t problems,
                        Operation operation) {
    const auto with = [&](const auto& net) {
        for (std::int64_t e = 0; e < problems; ++e) operation(net, e);
    };
    try {
        if (params.element_type() == ffi::DataType::F32)
            with(net_of<float>(architecture));
        else
            with(net_of<double>(architecture));
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

ffi::Error forward_handler(Widths d, Activations g, Parameters a, std::int64_t problems, Operand params, Operand x,
                           Result out, Result kept) {
    return each_problem({d, g, a}, params, problems,
                        [&](const auto& net, std::int64_t e) { forward(net, e, params, x, out, kept); });
}

ffi::Error pull_back_handler(Widths d, Activations g, Parameters a, std::int64_t problems, Operand params, Operand x,
                             Operand kept, Operand cotangent, Result grad, Result input_grad) {
    return each_problem({d, g, a}, params, problems, [&](const auto& net, std::int64_t e) {
        pull_back(net, e, params, x, kept, cotangent, grad, input_grad);
    });
}

ffi::Error push_forward_handler(Widths d, Activations g, Parameters a, std::int64_t problems, Operand params, Operand x,
                                Operand params_dot, Operand x_dot, Operand cotangent, Result output_dot,
                                Result grad_dot, Result input_grad_dot) {
    return each_problem({d, g, a}, params, problems, [&](const auto& net, std::int64_t e) {
        push_forward(net, e, params, x, params_dot, x_dot, cotangent, output_dot, grad_dot, input_grad_dot);
    });
}

auto binding() {
    return ffi::Ffi::Bind()
        .Attr<Widths>("widths")
        .Attr<Activations>("activations")
        .Attr<Parameters>("parameters")
        .Attr<std::int64_t>("problems");
}

}  // namespace
}  // namespace fastbp::jax

using xla::ffi::AnyBuffer;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    fastbp_jax_forward, fastbp::jax::forward_handler,
    fastbp::jax::binding().Arg<AnyBuffer>().Arg<AnyBuffer>().Ret<AnyBuffer>().Ret<AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(fastbp_jax_pull_back, fastbp::jax::pull_back_handler,
                              fastbp::jax::binding()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(fastbp_jax_push_forward, fastbp::jax::push_forward_handler,
                              fastbp::jax::binding()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Arg<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<AnyBuffer>()
                                  .Ret<AnyBuffer>());
