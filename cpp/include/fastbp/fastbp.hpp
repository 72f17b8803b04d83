// fastbp for C++: a thin face over fastbp.h. Header only, C++17; nothing of the C++ standard library crosses the door
// of libfastbp.so, so the compiler of a program need not be the library's.
//
//     const std::int64_t sizes[] = {64, 64, 10};
//     const fastbp_activation g[] = {FASTBP_RELU, FASTBP_SOFTMAX};
//     fastbp::Net<float> net(sizes, g, 2, FASTBP_CROSS_ENTROPY);
//     std::vector<float> params = ..., grad(net.parameter_count());
//     double value = net.value_and_grad(params.data(), fastbp::rows(X, n, 64), fastbp::labels(y, n), grad.data());
//
// Every array is the caller's and is only pointed to. Outputs are row-major without gaps, and overlap no input and no
// other output. Shapes are those of NOTATION.md: n rows, P = parameter_count(). Every function throws StatusError where
// its C function fails; a refused call has written nothing.
//
// Callbacks are C functions, and fastbp.h says what they may do. In short: block and call fastbp (not on "cuda"), but
// write neither parameters nor moments. An exception that one throws ends the call with StatusError
// (FASTBP_INTERRUPTED) and is lost: keep a std::exception_ptr in the context to rethrow it behind the call.
//
// Nothing is allocated here, and nothing in the library once a net of at most 32 layers has met its calls and their
// numbers of rows, as long as these are few: it keeps the memory of the last four kinds.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "fastbp/fastbp.h"

namespace fastbp {

// A call that failed: the status and its text, as fastbp_last_error() gave it.
class StatusError : public std::runtime_error {
  public:
    explicit StatusError(fastbp_status status) : StatusError(status, fastbp_last_error()) {}
    StatusError(fastbp_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
    fastbp_status status() const { return status_; }

  private:
    fastbp_status status_;
};

inline void require(fastbp_status status) {
    if (status != FASTBP_OK) throw StatusError(status);
}

// The fastbp_type of a C++ type.
template <fastbp_type type>
struct TypeIs {
    static constexpr fastbp_type value = type;
};
template <class T>
struct TypeOf;
template <>
struct TypeOf<float> : TypeIs<FASTBP_FLOAT32> {};
template <>
struct TypeOf<double> : TypeIs<FASTBP_FLOAT64> {};
template <>
struct TypeOf<long double> : TypeIs<FASTBP_LONG_DOUBLE> {};
template <>
struct TypeOf<bool> : TypeIs<FASTBP_BOOL> {};
template <>
struct TypeOf<std::int8_t> : TypeIs<FASTBP_INT8> {};
template <>
struct TypeOf<std::int16_t> : TypeIs<FASTBP_INT16> {};
template <>
struct TypeOf<std::int32_t> : TypeIs<FASTBP_INT32> {};
template <>
struct TypeOf<std::int64_t> : TypeIs<FASTBP_INT64> {};
template <>
struct TypeOf<std::uint8_t> : TypeIs<FASTBP_UINT8> {};
template <>
struct TypeOf<std::uint16_t> : TypeIs<FASTBP_UINT16> {};
template <>
struct TypeOf<std::uint32_t> : TypeIs<FASTBP_UINT32> {};
template <>
struct TypeOf<std::uint64_t> : TypeIs<FASTBP_UINT64> {};

// A row-major matrix (n, columns) of the caller's; not copied.
template <class T>
fastbp_array rows(const T* data, std::int64_t n, std::int64_t columns) {
    const std::int64_t size = sizeof(T);
    return {const_cast<T*>(data), TypeOf<T>::value, 0, 2, 0, n, columns, columns * size, size, nullptr, nullptr, 0, 0};
}

// A matrix (n, columns) of the caller's in compressed rows: numbers starts[i] to starts[i + 1] of `data` are row i's,
// and `places` their columns. For X alone.
template <class T, class Place>
fastbp_array compressed_rows(const T* data, const Place* places, const Place* starts, std::int64_t n,
                             std::int64_t columns) {
    return {const_cast<T*>(data),
            TypeOf<T>::value,
            0,
            2,
            TypeOf<Place>::value,
            n,
            columns,
            0,
            sizeof(T),
            places,
            starts,
            0,
            0};
}

// A vector (n,) of the caller's: class numbers, or targets of a net with one output.
template <class T>
fastbp_array labels(const T* data, std::int64_t n) {
    const std::int64_t size = sizeof(T);
    return {const_cast<T*>(data), TypeOf<T>::value, 0, 1, 0, n, 1, size, size, nullptr, nullptr, 0, 0};
}

// What a call works on: X (n, d(0)), the targets, and weights (n,) or (n, d(L)) where not all are 1. The fields that
// remain may be set: `order` and `count` choose the rows, `loss_function` and `poll` are called back.
inline fastbp_data data_of(const fastbp_array& x, const fastbp_array& y = {}, const fastbp_array& sample_weight = {}) {
    fastbp_data data = {};
    data.size = sizeof data;
    data.x = x;
    data.y = y;
    data.sample_weight = sample_weight;
    return data;
}

// The structs of fastbp.h, empty: fields that remain as they are ask for nothing.
inline fastbp_net_spec spec_for(fastbp_type type) {
    fastbp_net_spec spec = {};
    spec.size = sizeof spec;
    spec.type = type;
    return spec;
}

inline fastbp_results results_for() {
    fastbp_results results = {};
    results.size = sizeof results;
    return results;
}

inline fastbp_tangent tangent_for() {
    fastbp_tangent tangent = {};
    tangent.size = sizeof tangent;
    return tangent;
}

// An epoch in mini-batches by the rule: lr has one number per step, moments as many arrays (P,) as moment_count says.
inline fastbp_epoch epoch_for(const fastbp_step_rule& rule, void* const* moments, std::int64_t batch_size,
                              const double* lr) {
    fastbp_epoch epoch = {};
    epoch.size = sizeof epoch;
    epoch.rule = rule;
    epoch.moments = moments;
    epoch.batch_size = batch_size;
    epoch.lr = lr;
    return epoch;
}

inline fastbp_step_rule rule_of(fastbp_optimizer kind) {
    fastbp_step_rule rule = {};
    rule.size = sizeof rule;
    rule.kind = kind;
    return rule;
}

// Stochastic gradient descent, as torch.optim.SGD; other optimisers fill a rule_of.
inline fastbp_step_rule sgd(double momentum = 0) {
    fastbp_step_rule rule = rule_of(FASTBP_SGD);
    rule.momentum = momentum;
    return rule;
}

inline fastbp_step_rule adam(double beta1 = 0.9, double beta2 = 0.999, double eps = 1e-8) {
    fastbp_step_rule rule = rule_of(FASTBP_ADAM);
    rule.beta1 = beta1;
    rule.beta2 = beta2;
    rule.eps = eps;
    return rule;
}

// How many arrays (P,) the rule keeps between steps, which the caller fills before the first: see fastbp.h. Negative
// where it is no rule.
inline int moment_count(const fastbp_step_rule& rule) { return fastbp_moment_count(&rule); }

// One step on `count` numbers in the device's memory: params from grad. Steps count from 1.
template <class Real>
void update(const fastbp_step_rule& rule, std::int64_t count, Real* params, const Real* grad, void* const* moments,
            double lr, std::int64_t step, const char* device = nullptr) {
    require(fastbp_update(&rule, device, TypeOf<Real>::value, count, params, grad, moments, lr, step));
}

// A net whose numbers are Real (float or double). It holds no parameters: they come with every call. Movable; one net
// may be used by many threads at a time.
template <class Real>
class Net {
    static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>, "a net's numbers are float or double");

  public:
    // Throws StatusError if spec.type is not the type of Real, as spec_for(TypeOf<Real>::value) makes it.
    explicit Net(const fastbp_net_spec& spec) {
        if (spec.type != TypeOf<Real>::value)
            throw StatusError(FASTBP_TYPE_ERROR, "spec.type is " + std::to_string(spec.type) + ", expected " +
                                                     std::to_string(TypeOf<Real>::value) +
                                                     ", the type of this Net's numbers");
        require(fastbp_net_create(&spec, &net_));
    }

    // d(0) .. d(layers), and one activation per layer. The rest of a description (penalties, dropout, deterministic)
    // takes a spec_for.
    Net(const std::int64_t* widths, const fastbp_activation* activations, int layers,
        fastbp_loss loss = FASTBP_NO_LOSS) {
        static_assert(sizeof(fastbp_activation) == sizeof(std::int32_t), "enums are 32 bits wide");
        fastbp_net_spec spec = spec_for(TypeOf<Real>::value);
        spec.layers = layers;
        spec.widths = widths;
        spec.activations = reinterpret_cast<const std::int32_t*>(activations);
        spec.loss = loss;
        require(fastbp_net_create(&spec, &net_));
    }
    ~Net() { fastbp_net_destroy(net_); }
    Net(Net&& other) noexcept : net_(std::exchange(other.net_, nullptr)) {}
    Net& operator=(Net&& other) noexcept {
        std::swap(net_, other.net_);
        return *this;
    }

    std::int64_t parameter_count() const { return fastbp_parameter_count(net_); }
    std::int64_t kept_size(std::int64_t n) const { return fastbp_kept_size(net_, n); }
    fastbp_net* handle() const { return net_; }

    // (1)(2): x(L) (n, d(L)) into out; what a pull_back needs into kept (kept_size(n)), unless that is null.
    void forward(const Real* params, const fastbp_array& x, Real* out, Real* kept = nullptr) const {
        const fastbp_data data = data_of(x);
        require(fastbp_forward(net_, params, &data, out, kept));
    }

    // (3) to (7) behind a loss of the caller's, whose derivative by x(L) is the cotangent (n, d(L)), from what forward
    // kept of the same params and x: the gradient (P,) into grad and the derivative by x (n, d(0)) into input_grad,
    // either of which may be null.
    void pull_back(const Real* params, const fastbp_array& x, const Real* kept, const fastbp_array& cotangent,
                   Real* grad, Real* input_grad = nullptr) const {
        const fastbp_data data = data_of(x);
        fastbp_results results = results_for();
        results.grad = grad;
        results.input_grad = input_grad;
        require(fastbp_pull_back(net_, params, &data, kept, &cotangent, &results));
    }

    // The mean loss over the rows plus penalties; its gradient (P,) into grad, unless that is null.
    double value_and_grad(const Real* params, const fastbp_data& data, Real* grad) const {
        fastbp_results results = results_for();
        results.grad = grad;
        evaluate(params, data, results);
        return results.value;
    }
    double value_and_grad(const Real* params, const fastbp_array& x, const fastbp_array& y, Real* grad) const {
        return value_and_grad(params, data_of(x, y), grad);
    }

    double value(const Real* params, const fastbp_data& data) const { return value_and_grad(params, data, nullptr); }
    double value(const Real* params, const fastbp_array& x, const fastbp_array& y) const {
        return value(params, data_of(x, y));
    }

    // (1) to (7): whatever the results ask for, of s, x and deltas of all layers to norms of single rows.
    void evaluate(const Real* params, const fastbp_data& data, fastbp_results& results) const {
        require(fastbp_evaluate(net_, params, &data, &results));
    }

    // (8): the Jacobian-vector product (n, d(L)) into output_dot, along params_dot (P,), x_dot (n, d(0)) or both; null
    // and {} are 0.
    void jvp(const Real* params, const fastbp_array& x, const Real* params_dot, const fastbp_array& x_dot,
             Real* output_dot) const {
        fastbp_tangent tangent = tangent_for();
        tangent.params_dot = params_dot;
        tangent.x_dot = x_dot;
        tangent.output_dot = output_dot;
        push_forward(params, data_of(x), tangent);
    }

    // (8) to (11): the Hessian of value_and_grad's value times v (P,), into out (P,).
    void hvp(const Real* params, const fastbp_data& data, const Real* v, Real* out) const {
        fastbp_tangent tangent = tangent_for();
        tangent.params_dot = v;
        tangent.grad_dot = out;
        push_forward(params, data, tangent);
    }

    // (8) to (11): whatever the tangent asks for.
    void push_forward(const Real* params, const fastbp_data& data, fastbp_tangent& tangent) const {
        require(fastbp_push_forward(net_, params, &data, &tangent));
    }

    // Trains params (P,) in place over the rows in their order, one step per mini-batch; the epoch says how, counts its
    // steps on, and tells loss_sum and weight_sum. Where it throws, params and moments are as after the last whole
    // step: for a loss or a gradient that is not finite, and if a callback says stop.
    void run_epoch(Real* params, const fastbp_data& data, fastbp_epoch& epoch) const {
        require(fastbp_run_epoch(net_, params, &data, &epoch));
    }

  private:
    fastbp_net* net_ = nullptr;
};

}  // namespace fastbp
