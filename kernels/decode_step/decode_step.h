#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

// One token through one Mamba layer; the equations are in decode_step_params.h. Every tensor on one device; x, u, z,
// x_dbl, delta and the projections' weights in one dtype, convolution, dt_bias, A, D and scan states in fp32 (fp64 with
// fp64). bf16 and fp16 on a GPU run the kernels of this folder, all else the operators for whole sequences with one
// step. Nothing here is differentiable: inputs that require a gradient are refused while gradients are recorded.
//
// `parents` (rows) int64 names the row of the state that each row continues. `*_state_out` is written; it may be
// `*_state` itself when there are no parents.

/// rms_norm of a step: x, residual (fp32) (rows, d_model), weight (d_model) fp32 -> (out, residual_out).
std::tuple<at::Tensor, at::Tensor> decode_norm(const at::Tensor& x, const std::optional<at::Tensor>& residual,
                                               const at::Tensor& weight, double eps);

/// x (rows, in_features), weight (out_features, in_features) -> x W^T (rows, out_features).
at::Tensor decode_linear(const at::Tensor& x, const at::Tensor& weight);

/// in_proj and the convolution's step: (u, z), 2 x (rows, d_inner). weight (2 d_inner, in_features), conv_weight
/// (d_inner, width), conv_bias (d_inner), states (state rows or rows, width - 1, d_inner).
std::tuple<at::Tensor, at::Tensor> decode_in_proj_conv(const at::Tensor& x, const at::Tensor& weight,
                                                       const at::Tensor& conv_weight,
                                                       const std::optional<at::Tensor>& conv_bias,
                                                       const at::Tensor& conv_state, at::Tensor& conv_state_out,
                                                       const std::optional<at::Tensor>& parents);

/// The convolution's step alone: x (rows, d_inner), rows of any stride -> u (rows, d_inner).
at::Tensor decode_conv(const at::Tensor& x, const at::Tensor& conv_weight, const std::optional<at::Tensor>& conv_bias,
                       const at::Tensor& conv_state, at::Tensor& conv_state_out,
                       const std::optional<at::Tensor>& parents);

/// dt_proj, the scan's step and the gate: y (rows, d_inner). u, z (rows, d_inner), x_dbl (rows, dt_rank + 2 d_state),
/// either dt_weight (d_inner, dt_rank) or delta (rows, d_inner), dt_bias and D (d_inner), A (d_inner, d_state), states
/// (state rows or rows, d_inner, d_state).
at::Tensor decode_scan(const at::Tensor& u, const at::Tensor& z, const at::Tensor& x_dbl,
                       const std::optional<at::Tensor>& dt_weight, const std::optional<at::Tensor>& delta,
                       const at::Tensor& dt_bias, const at::Tensor& A, const at::Tensor& D,
                       const at::Tensor& scan_state, at::Tensor& scan_state_out,
                       const std::optional<at::Tensor>& parents);

}  // namespace mpeft::ops
