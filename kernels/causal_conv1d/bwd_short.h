#pragma once

#include <cuda_runtime.h>

#include "kernels/causal_conv1d/causal_conv1d_params.h"

// defines: ShortLaunch, launch_short_bwd

namespace mpeft::kernels {

/// Whether a problem was taken, and if so the error of its launch.
struct ShortLaunch {
  bool taken = false;
  cudaError_t error = cudaSuccess;
};

/// The backward in one launch, without a workspace, of problems so small that latency is all they cost; others it does
/// not take, nor devices that cannot. params: width kWidth (2 to 4), at least one step, 16-byte aligned rows, also of
/// the weights and gradients. scalar_t is float, __nv_bfloat16 or __half.
template <int kWidth, typename scalar_t>
ShortLaunch launch_short_bwd(const CausalConv1dBwdParams<scalar_t>& params, cudaStream_t stream);

}  // namespace mpeft::kernels
