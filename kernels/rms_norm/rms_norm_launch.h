#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/rms_norm/rms_norm_params.h"

// defines: launch_rms_norm_fwd, rms_norm_bwd_workspace_bytes, launch_rms_norm_bwd
//
// scalar_t is float, __nv_bfloat16 or __half. Nothing here throws, allocates or waits.

namespace mpeft::kernels {

template <typename scalar_t>
cudaError_t launch_rms_norm_fwd(const RmsNormFwdParams<scalar_t>& params, cudaStream_t stream);

/// Bytes of device memory the backward with these params needs, 0 when dweight is not wanted.
template <typename scalar_t>
int64_t rms_norm_bwd_workspace_bytes(const RmsNormBwdParams<scalar_t>& params);

template <typename scalar_t>
cudaError_t launch_rms_norm_bwd(const RmsNormBwdParams<scalar_t>& params, void* workspace, cudaStream_t stream);

}  // namespace mpeft::kernels
