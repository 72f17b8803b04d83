// Memory that the caller has looked at and keeps, by address: for tensors that are dear to turn into arrays.
#pragma once

#include <cstdint>
#include <vector>

#include "arrays.hpp"

namespace fastbp::python {

using Address = std::uintptr_t;

// Where the numbers of torch's tensors lie: a list, or None unless all are of these shapes and this dtype, in the
// host's memory (`gpu` is -1) or that of the GPU with this number, row-major without gaps and not negated by a flag.
py::object addresses(const py::sequence& tensors, const py::sequence& shapes, py::handle dtype, int gpu);

inline void* pointer(Address address) { return reinterpret_cast<void*>(address); }

// A row-major matrix without gaps. One without rows may lie anywhere, but for the core not nowhere.
inline fastbp_array matrix_at(Address address, std::int64_t n, std::int64_t columns, int type, bool distant) {
    static double nothing = 0;
    const std::int64_t size = type == FASTBP_FLOAT32 ? 4 : 8;
    void* const data = address == 0 && n == 0 ? &nothing : pointer(address);
    fastbp_array view = {data, type, 0, 2, 0, n, columns, columns * size, size, nullptr, nullptr, 0, 0};
    view.on_device = distant && n > 0;
    return view;
}

// w(1), b(1), .. each by itself: parameters, or their gradients.
struct Parts {
    std::vector<void*> weights, biases;

    Parts(const std::vector<Address>& addresses, std::size_t layers) {
        if (addresses.size() != 2 * layers)
            throw Refusal(FASTBP_VALUE_ERROR,
                          std::to_string(addresses.size()) + " addresses, expected those of w and b of each layer");
        for (std::size_t k = 0; k < layers; ++k) {
            weights.push_back(pointer(addresses[2 * k]));
            biases.push_back(pointer(addresses[2 * k + 1]));
        }
    }
    void attach(fastbp_data& data) const {
        data.weights = weights.data();
        data.biases = biases.data();
    }
};

}  // namespace fastbp::python
