#pragma once

#include <type_traits>

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// defines: dispatch_cuda_dtype, cuda_workspace
//
// Included only where MPEFT_HAS_CUDA is defined.

namespace mpeft::ops {

/// Calls body(std::type_identity<scalar_t>) with the CUDA kernels' type for the dtype.
template <typename Body>
void dispatch_cuda_dtype(const char* op, at::ScalarType dtype, const Body& body) {
  switch (dtype) {
    case at::kFloat:
      return body(std::type_identity<float>{});
    case at::kBFloat16:
      return body(std::type_identity<__nv_bfloat16>{});
    case at::kHalf:
      return body(std::type_identity<__half>{});
    default:
      TORCH_CHECK(false, op, ": no CUDA kernel for dtype ", dtype);
  }
}

/// Device memory for one launch, from LibTorch's allocator: it is reused after the launch without waiting, in stream
/// order.
inline at::Tensor cuda_workspace(int64_t bytes, const at::Tensor& like) {
  return at::empty({bytes}, like.options().dtype(at::kByte));
}

}  // namespace mpeft::ops
