#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// Fused residual addition and RMSNorm; see rms_norm_params.h. x (..., d_model) in the compute dtype, residual (...,
/// d_model) fp32 (fp64 with fp64), weight (d_model) fp32. Returns (out in x's dtype, residual_out fp32). Differentiable
/// in x, residual, weight.
std::tuple<at::Tensor, at::Tensor> rms_norm(const at::Tensor& x, const std::optional<at::Tensor>& residual,
                                            const at::Tensor& weight, double eps);

}  // namespace mpeft::ops
