// fastbp for C++: a thin face over fastbp.h. Header only, C++17; nothing of the C++ standard library crosses the door
// of libfastbp.so, so the compiler of a program need not be the library's.
//
//     const std::int64_t sizes[] = {64, 64, 10};
//     const fastbp_activation g[] = {FASTBP_RELU, FASTBP_SOFTMAX};
//     fastbp::Net<float> net(sizes, g, 2, FASTBP_CROSS_ENTROPY);
//     std::vector<float> params = ..., grad(net.parameter_count());
//     double value = net.value_and_grad(params.data(), fastbp::rows(X, n, 64), fastbp::labels(y, n), grad.data());
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "fastbp/fastbp.h"

namespace fastbp {

// A call that failed: the status and fastbp_last_error() of the time.
class StatusError : public std::runtime_error {
  public:
    explicit StatusError(fastbp_status status) : std::runtime_error(fastbp_last_error()), status_(status) {}
    fastbp_status status() const { return status_; }

  private:
    fastbp_status status_;
};

inline void require(fastbp_status status) {
    if (status != FASTBP_OK) throw StatusError(status);
}

template <class T>
struct TypeOf;
template <>
struct TypeOf<float> {
    static constexpr fastbp_type value = FASTBP_FLOAT32;
};
template <>
struct TypeOf<double> {
    static constexpr fastbp_type value = FASTBP_FLOAT64;
};
template <>
struct TypeOf<std::int32_t> {
    static constexpr fastbp_type value = FASTBP_INT32;
};
template <>
struct TypeOf<std::int64_t> {
    static constexpr fastbp_type value = FASTBP_INT64;
};

// A row-major matrix (n, columns) of the caller's; not copied.
template <class T>
fastbp_array rows(const T* data, std::int64_t n, std::int64_t columns) {
    const std::int64_t size = sizeof(T);
    return {const_cast<T*>(data), TypeOf<T>::value, 0, 2, 0, n, columns, columns * size, size, nullptr, nullptr};
}

// A matrix (n, columns) of the caller's in compressed rows: numbers starts[i] to starts[i + 1] of `data` are row i's,
// and `places` their columns. For X alone.
template <class T, class Place>
fastbp_array compressed_rows(const T* data, const Place* places, const Place* starts, std::int64_t n,
                             std::int64_t columns) {
    return {
        const_cast<T*>(data), TypeOf<T>::value, 0, 2, TypeOf<Place>::value, n, columns, 0, sizeof(T), places, starts};
}

// A vector (n,) of the caller's: class numbers, or targets of a net with one output.
template <class T>
fastbp_array labels(const T* data, std::int64_t n) {
    const std::int64_t size = sizeof(T);
    return {const_cast<T*>(data), TypeOf<T>::value, 0, 1, 0, n, 1, size, size, nullptr, nullptr};
}

inline fastbp_data data_of(const fastbp_array& x, const fastbp_array& y = {}, const fastbp_array& sample_weight = {}) {
    fastbp_data data = {};
    data.size = sizeof data;
    data.x = x;
    data.y = y;
    data.sample_weight = sample_weight;
    return data;
}

inline fastbp_results results_for() {
    fastbp_results results = {};
    results.size = sizeof results;
    return results;
}

// A net whose numbers are Real (float or double). It holds no parameters: they come with every call. Movable; one net
// may be used by many threads at a time. Every call throws StatusError where the C function fails.
template <class Real>
class Net {
  public:
    explicit Net(const fastbp_net_spec& spec) { require(fastbp_net_create(&spec, &net_)); }

    // d(0) .. d(layers), and one activation per layer.
    Net(const std::int64_t* widths, const fastbp_activation* activations, int layers,
        fastbp_loss loss = FASTBP_NO_LOSS) {
        static_assert(sizeof(fastbp_activation) == sizeof(std::int32_t), "enums are 32 bits wide");
        fastbp_net_spec spec = {};
        spec.size = sizeof spec;
        spec.type = TypeOf<Real>::value;
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

    // (1)(2): x(L) (n, d(L)) into out.
    void forward(const Real* params, const fastbp_array& x, Real* out) const {
        const fastbp_data data = data_of(x);
        require(fastbp_forward(net_, params, &data, out, nullptr));
    }

    // The mean loss over the rows plus penalties; its gradient (P,) into grad, unless that is null.
    double value_and_grad(const Real* params, const fastbp_array& x, const fastbp_array& y, Real* grad) const {
        const fastbp_data data = data_of(x, y);
        fastbp_results results = results_for();
        results.grad = grad;
        require(fastbp_evaluate(net_, params, &data, &results));
        return results.value;
    }

    double value(const Real* params, const fastbp_array& x, const fastbp_array& y) const {
        return value_and_grad(params, x, y, nullptr);
    }

  private:
    fastbp_net* net_ = nullptr;
};

}  // namespace fastbp
