#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// What a selective scan reads; see selective_scan_params.h for the recurrence. u, delta, z, B, C share one dtype
/// (fp32, bf16, fp16; fp64 on the CPU); A, D, delta_bias, initial_state are fp32 (fp64 with fp64).
struct SelectiveScanArgs {
  at::Tensor u;                             ///< (batch, seqlen, d_inner), last axis contiguous; so are delta, z, B, C
  at::Tensor delta;                         ///< (batch, seqlen, d_inner)
  at::Tensor A;                             ///< (d_inner, d_state), negative
  at::Tensor B;                             ///< (batch, seqlen, d_state)
  at::Tensor C;                             ///< (batch, seqlen, d_state)
  std::optional<at::Tensor> D;              ///< (d_inner)
  std::optional<at::Tensor> z;              ///< (batch, seqlen, d_inner)
  std::optional<at::Tensor> delta_bias;     ///< (d_inner)
  std::optional<at::Tensor> initial_state;  ///< (batch or 1, d_inner, d_state)
  std::optional<at::Tensor> lengths;        ///< (batch) int32, steps of each row that are not padding
  bool delta_softplus = true;
};

/// (out (batch, seqlen, d_inner) in u's dtype, last_state (batch, d_inner, d_state) fp32), differentiable in every
/// floating input. Runs on the inputs' device. Throws c10::Error naming the tensor whose shape, dtype or device is
/// wrong.
std::tuple<at::Tensor, at::Tensor> selective_scan(const SelectiveScanArgs& args);

}  // namespace mpeft::ops
