#include "backend/plain/plain.hpp"

#include "backend/loops/loop_backend.hpp"
#include "backend/loops/make_table.hpp"

namespace fastbp {

template <class Real>
std::unique_ptr<Backend<Real>> make_plain_backend() {
    static constexpr LoopTable<Real> any_strides = loops::make_table<false, Real>();
    return std::make_unique<LoopBackend<Real>>(any_strides, "plain");
}

template std::unique_ptr<Backend<float>> make_plain_backend();
template std::unique_ptr<Backend<double>> make_plain_backend();

}  // namespace fastbp
