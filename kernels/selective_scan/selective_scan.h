#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>

namespace mpeft::ops {

/// What a selective scan reads; see selective_scan_params.h for the recurrence. u, delta, z, B, C share one dtype
/// (fp32, bf16, fp16; fp64 on the CPU); the others are fp32 (fp64 with fp64). Rows are padded to one length, or packed
/// one after another (cu_seqlens): then batch is 1, seqlen counts the steps of all rows, and each row has its own
/// states.
struct SelectiveScanArgs {
  at::Tensor u;                             ///< (batch, seqlen, d_inner), last axis contiguous; so are delta, z, B, C
  at::Tensor delta;                         ///< (batch, seqlen, d_inner)
  at::Tensor A;                             ///< (d_inner, d_state), negative
  at::Tensor B;                             ///< (batch, seqlen, d_state)
  at::Tensor C;                             ///< (batch, seqlen, d_state)
  std::optional<at::Tensor> D;              ///< (d_inner)
  std::optional<at::Tensor> z;              ///< (batch, seqlen, d_inner)
  std::optional<at::Tensor> delta_bias;     ///< (d_inner)
  std::optional<at::Tensor> initial_state;  ///< (rows or 1, d_inner, d_state)
  std::optional<at::Tensor> lengths;        ///< (batch) int32, steps of each row that are not padding
  bool delta_softplus = true;
  std::optional<at::Tensor> state_offset = {};  ///< (d_inner, d_state), added to the state that C reads
  std::optional<at::Tensor> out_offset = {};    ///< (d_inner), added to y before the gate
  std::optional<at::Tensor> B_scale = {};       ///< (d_inner, d_state): channel d reads B_scale[d] B_t + B_bias[d]
  std::optional<at::Tensor> B_bias = {};        ///< (d_inner, d_state)
  std::optional<at::Tensor> C_scale = {};       ///< (d_inner, d_state)
  std::optional<at::Tensor> C_bias = {};        ///< (d_inner, d_state)
  std::optional<at::Tensor> cu_seqlens = {};    ///< (rows + 1) int32, ascending from 0: row r is steps cu_seqlens[r] to
                                                ///< cu_seqlens[r + 1] of a batch of 1; not together with lengths
  bool compact_states = false;  ///< keep 2 instead of 10 bytes (bf16, 16 states) a step and channel for the backward,
                                ///< which then takes longer; no effect on the CPU
};

/// (out (batch, seqlen, d_inner) in u's dtype, last_state (rows, d_inner, d_state) fp32), differentiable in every
/// floating input. Runs on the inputs' device. Throws c10::Error naming the tensor whose shape, dtype or device is
/// wrong.
std::tuple<at::Tensor, at::Tensor> selective_scan(const SelectiveScanArgs& args);

}  // namespace mpeft::ops
