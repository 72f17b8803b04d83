// The plain backend and the CUDA backend, with the same numbers in the memory of each.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/make_backend.hpp"

namespace fastbp::test {

inline void expect(bool right, const std::string& what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what.c_str());
    std::exit(1);
}

template <class Real>
struct Devices {
    std::unique_ptr<Backend<Real>> on[2] = {make_backend<Real>("plain"), make_backend<Real>("cuda")};

    // Runs the operation on each, with the number of the device.
    void both(const std::function<void(Backend<Real>&, int)>& operation) {
        for (int d = 0; d < 2; ++d) {
            on[d]->begin_call(nullptr);
            operation(*on[d], d);
            expect(on[d]->failure() == nullptr,
                   "an operation: " + std::string(on[d]->failure() ? on[d]->failure() : ""));
            on[d]->end_call();
        }
    }
};

// The same numbers in the memory of both.
template <class T, class Real>
class Numbers {
  public:
    Numbers(Devices<Real>& devices, const std::vector<T>& host) : devices_(devices), size_(host.size()) {
        for (int d = 0; d < 2; ++d) {
            data_[d] = static_cast<T*>(devices.on[d]->allocate(std::max<std::size_t>(1, size_) * sizeof(T)));
            expect(data_[d] != nullptr, "memory");
            if (size_ > 0) devices.on[d]->upload(host.data(), data_[d], size_ * sizeof(T));
        }
    }
    ~Numbers() {
        for (int d = 0; d < 2; ++d) devices_.on[d]->release(data_[d]);
    }
    Numbers(const Numbers&) = delete;
    Numbers& operator=(const Numbers&) = delete;

    T* operator[](int d) const { return data_[d]; }
    Vector<T> vector(int d) const { return {data_[d], Index(size_)}; }
    Matrix<T> matrix(int d, Index rows, Index cols) const { return dense(data_[d], rows, cols); }
    std::vector<T> read(int d) const {
        std::vector<T> host(size_);
        if (size_ > 0) devices_.on[d]->download(data_[d], host.data(), size_ * sizeof(T));
        return host;
    }
    void expect_equal(double tolerance, const std::string& what) const {
        const std::vector<T> plain = read(0), cuda = read(1);
        for (std::size_t i = 0; i < size_; ++i) {
            const double a = double(plain[i]), b = double(cuda[i]);
            if (a == b || (std::isnan(a) && std::isnan(b))) continue;
            expect(std::abs(a - b) <= tolerance * std::max(1.0, std::abs(a)), what + ": number " + std::to_string(i) +
                                                                                  " is " + std::to_string(b) +
                                                                                  ", expected " + std::to_string(a));
        }
    }

  private:
    Devices<Real>& devices_;
    std::size_t size_;
    T* data_[2];
};

inline std::mt19937_64 generator(1);

template <class T>
std::vector<T> random(std::size_t n, double low = -2, double high = 2) {
    std::uniform_real_distribution<double> draw(low, high);
    std::vector<T> numbers(n);
    for (T& v : numbers) v = T(draw(generator));
    return numbers;
}

template <class Real>
std::vector<Real> nans(std::size_t n) {
    return std::vector<Real>(n, std::nan(""));
}

template <class Real>
constexpr double tolerance = sizeof(Real) == 4 ? 3e-6 : 1e-14;

}  // namespace fastbp::test
