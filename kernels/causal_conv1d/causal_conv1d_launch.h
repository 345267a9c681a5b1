#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/causal_conv1d/causal_conv1d_params.h"

// defines: launch_causal_conv1d_fwd, causal_conv1d_bwd_workspace_bytes, launch_causal_conv1d_bwd
//
// scalar_t is float, __nv_bfloat16 or __half. Nothing here throws, allocates or waits; an error comes back as a
// cudaError_t (cudaErrorInvalidValue: width is not 2, 3 or 4).

namespace mpeft::kernels {

template <typename scalar_t>
cudaError_t launch_causal_conv1d_fwd(const CausalConv1dFwdParams<scalar_t>& params, cudaStream_t stream);

/// Bytes of device memory the backward with these params needs, 0 when neither dweight nor dbias is wanted.
template <typename scalar_t>
int64_t causal_conv1d_bwd_workspace_bytes(const CausalConv1dBwdParams<scalar_t>& params);

template <typename scalar_t>
cudaError_t launch_causal_conv1d_bwd(const CausalConv1dBwdParams<scalar_t>& params, void* workspace,
                                     cudaStream_t stream);

}  // namespace mpeft::kernels
