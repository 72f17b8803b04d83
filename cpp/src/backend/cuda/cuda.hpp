// The backend of NVIDIA's GPUs: kernels of its own and cuBLASLt, in the order of the calls on a stream of its own.
#pragma once

#include <memory>

#include "backend/cuda/runtime.hpp"
#include "seam/backend.hpp"

namespace fastbp::cuda {

// On the GPU with this number; nullptr where that fails. cuBLASLt is there: library() is not null.
template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options, Failure& failure);

extern template std::unique_ptr<Backend<float>> make_cuda_backend(int, const BackendOptions&, Failure&);
extern template std::unique_ptr<Backend<double>> make_cuda_backend(int, const BackendOptions&, Failure&);

}  // namespace fastbp::cuda
