#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/cross_entropy/cross_entropy_params.h"

// defines: launch_cross_entropy_fwd, launch_cross_entropy_bwd
//
// scalar_t is float, __nv_bfloat16 or __half. Nothing here throws, allocates or waits.

namespace mpeft::kernels {

/// dlogits is null or logits itself: the gradient takes the place of the logits.
template <typename scalar_t>
cudaError_t launch_cross_entropy_fwd(const CrossEntropyFwdParams<scalar_t>& params, cudaStream_t stream);

template <typename scalar_t>
cudaError_t launch_cross_entropy_bwd(const CrossEntropyBwdParams<scalar_t>& params, cudaStream_t stream);

}  // namespace mpeft::kernels
