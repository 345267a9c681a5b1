#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/decode_step/decode_step_params.h"
#include "kernels/rms_norm/rms_norm_params.h"

// defines: kAlwaysDecodeRows, kMaxDecodeRows, decode_norm_fits, launch_decode_norm, decode_linear_fits,
// launch_decode_linear, decode_in_proj_conv_fits, launch_decode_in_proj_conv, launch_decode_conv, launch_decode_scan
//
// scalar_t is __nv_bfloat16 or __half. Nothing here throws, allocates or waits. Kernels of one stream overlap: each
// starts to read its weights while the one before it ends (compute capability 9; elsewhere they run one by one), so the
// weights must not be written by the kernels right before.

namespace mpeft::kernels {

/// Rows up to which the products here take any matrix, and up to which they take one that needs no more than one tile
/// an SM; beyond, a library's product with larger tiles is the better one.
inline constexpr int64_t kAlwaysDecodeRows = 40, kMaxDecodeRows = 160;

/// True when launch_decode_norm takes these sizes: d_model a multiple of 4, at most 4096, 16-byte aligned.
template <typename scalar_t>
bool decode_norm_fits(const RmsNormFwdParams<scalar_t>& params);

/// rms_norm's forward, with residual_out and without rstd.
template <typename scalar_t>
cudaError_t launch_decode_norm(const RmsNormFwdParams<scalar_t>& params, cudaStream_t stream);

/// True when launch_decode_linear takes these sizes: rows as above, in_features a multiple of 32, 16-byte aligned.
template <typename scalar_t>
bool decode_linear_fits(const DecodeLinearParams<scalar_t>& params);

template <typename scalar_t>
cudaError_t launch_decode_linear(const DecodeLinearParams<scalar_t>& params, cudaStream_t stream);

/// True when launch_decode_in_proj_conv takes these sizes: those of the linear, d_inner a multiple of 16, width 2 to 4.
template <typename scalar_t>
bool decode_in_proj_conv_fits(const DecodeLinearParams<scalar_t>& in_proj, const DecodeConvParams<scalar_t>& conv);

/// The linear's first d_inner columns go through the convolution's step, the others to z (rows, d_inner): y is unused.
template <typename scalar_t>
cudaError_t launch_decode_in_proj_conv(const DecodeLinearParams<scalar_t>& in_proj,
                                       const DecodeConvParams<scalar_t>& conv, scalar_t* z, cudaStream_t stream);

template <typename scalar_t>
cudaError_t launch_decode_conv(const DecodeConvParams<scalar_t>& params, cudaStream_t stream);

template <typename scalar_t>
cudaError_t launch_decode_scan(const DecodeScanParams<scalar_t>& params, cudaStream_t stream);

}  // namespace mpeft::kernels
