// The backend for NVIDIA GPUs: kernels and cuBLASLt, which run on the backend's own stream in the order of the calls.
#pragma once

#include <memory>

#include "backend/cuda/runtime.hpp"
#include "seam/backend.hpp"

namespace fastbp::cuda {

// A backend on the GPU of this number, or nullptr and a failure. Requires that library() is not null.
template <class Real>
std::unique_ptr<Backend<Real>> make_cuda_backend(int ordinal, const BackendOptions& options, Failure& failure);

extern template std::unique_ptr<Backend<float>> make_cuda_backend(int, const BackendOptions&, Failure&);
extern template std::unique_ptr<Backend<double>> make_cuda_backend(int, const BackendOptions&, Failure&);

}  // namespace fastbp::cuda
