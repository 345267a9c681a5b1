#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// Depthwise causal convolution with optional SiLU; see causal_conv1d_params.h. Returns (out (batch, seqlen, d_inner),
/// last_state (batch, width - 1, d_inner): the last inputs of each row). x (batch, seqlen, d_inner) with a contiguous
/// last axis, weight (d_inner, width) and bias (d_inner) fp32 (fp64 with fp64), initial_state (batch or 1, width - 1,
/// d_inner) in x's dtype, lengths (batch) int32. With cu_seqlens, (rows + 1) int32 ascending from 0, x is (1, steps of
/// all rows, d_inner): rows one after another, each with its own states; lengths must be absent then. Differentiable in
/// x, weight, bias, initial_state.
std::tuple<at::Tensor, at::Tensor> causal_conv1d(const at::Tensor& x, const at::Tensor& weight,
                                                 const std::optional<at::Tensor>& bias,
                                                 const std::optional<at::Tensor>& initial_state,
                                                 const std::optional<at::Tensor>& lengths, bool silu,
                                                 const std::optional<at::Tensor>& cu_seqlens = std::nullopt);

}  // namespace mpeft::ops
