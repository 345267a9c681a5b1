#pragma once

#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <ATen/ATen.h>

#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/selective_scan/selective_scan_params.h"

// defines, in scan: Tensor, OptionalTensor, MPEFT_SCAN_PARAMETERS, MPEFT_SCAN_ARGUMENTS, kOp, Gradient, Mask,
// GradientArray, Gradients, as_tuple, Inputs, check, given_inputs, checked_inputs, fill_inputs, schema_of_inputs,
// checkpoint_sizes, check_kept
//
// What the public operator and its two halves share: the inputs, in the order of the schema, and the gradients.

namespace mpeft::ops::scan {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline constexpr const char* kOp = "selective_scan";

/// The inputs, in the order of the schema.
#define MPEFT_SCAN_PARAMETERS                                                                                       \
  const Tensor &u, const Tensor &delta, const Tensor &A, const Tensor &B, const Tensor &C, const OptionalTensor &D, \
      const OptionalTensor &z, const OptionalTensor &delta_bias, const OptionalTensor &initial_state,               \
      const OptionalTensor &lengths, bool delta_softplus, const OptionalTensor &state_offset,                       \
      const OptionalTensor &out_offset, const OptionalTensor &B_scale, const OptionalTensor &B_bias,                \
      const OptionalTensor &C_scale, const OptionalTensor &C_bias, const OptionalTensor &cu_seqlens
#define MPEFT_SCAN_ARGUMENTS                                                                                      \
  u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus, state_offset, out_offset, B_scale, \
      B_bias, C_scale, C_bias, cu_seqlens

/// Order of the output mask and of the results of the backward.
enum Gradient {
  kU,
  kDelta,
  kA,
  kB,
  kC,
  kD,
  kZ,
  kDeltaBias,
  kInitialState,
  kStateOffset,
  kOutOffset,
  kBScale,
  kBBias,
  kCScale,
  kCBias,
  kGradients
};
using Mask = std::array<bool, kGradients>;
using GradientArray = std::array<Tensor, kGradients>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                             Tensor, Tensor, Tensor, Tensor>;

inline Gradients as_tuple(const GradientArray& grads) {
  return std::apply([](const auto&... g) { return Gradients(g...); }, grads);
}

/// What the kernels read: optional tensors are undefined when absent, strides are what the kernels can follow.
struct Inputs {
  Tensor u, delta, A, B, C, D, z, delta_bias, initial_state, lengths;
  bool delta_softplus = true;
  Tensor state_offset, out_offset, B_scale, B_bias, C_scale, C_bias, cu_seqlens;

  bool packed() const { return cu_seqlens.defined(); }
  int64_t rows() const { return packed() ? cu_seqlens.numel() - 1 : u.size(0); }
  int64_t seqlen() const { return u.size(1); }
  int64_t d_inner() const { return u.size(2); }
  int64_t d_state() const { return A.size(1); }
  at::TensorOptions acc_options() const { return u.options().dtype(accumulation_dtype(u.scalar_type())); }

  /// The differentiable inputs, in the order of Gradient.
  std::array<const Tensor*, kGradients> differentiable() const {
    return {&u,          &delta,   &A,      &B,       &C,     &D, &z, &delta_bias, &initial_state, &state_offset,
            &out_offset, &B_scale, &B_bias, &C_scale, &C_bias};
  }
};

/// Throws c10::Error that names the tensor whose shape, dtype or device is wrong.
void check(const Inputs& in);

Inputs given_inputs(MPEFT_SCAN_PARAMETERS);

/// Checked, and laid out as the kernels read them: copies only where they have to be.
Inputs checked_inputs(MPEFT_SCAN_PARAMETERS);

/// The inputs' part of a schema; absent: what stands behind the names of those that were added last ("=None").
std::string schema_of_inputs(const std::string& absent);

/// (batch or, packed, 1; kept states of a row or, packed, of all; d_inner; d_state)
std::vector<int64_t> checkpoint_sizes(const Inputs& in, int64_t every);

/// The cadence belongs to the device's kernels: they accept no other. Throws c10::Error.
void check_kept(const Inputs& in, int64_t checkpoint_every, bool with_y);

template <typename scalar_t>
void fill_inputs(const Inputs& in, kernels::SelectiveScanInputs<scalar_t>& p) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  p.batch = in.rows();
  p.seqlen = in.seqlen();
  p.d_inner = in.d_inner();
  p.d_state = in.d_state();
  p.delta_softplus = in.delta_softplus;
  p.u = sequence_of<scalar_t>(in.u);
  p.delta = sequence_of<scalar_t>(in.delta);
  p.z = sequence_of<scalar_t>(in.z);
  p.B = sequence_of<scalar_t>(in.B);
  p.C = sequence_of<scalar_t>(in.C);
  p.A = pointer_of<acc_t>(in.A);
  p.D = pointer_of<acc_t>(in.D);
  p.delta_bias = pointer_of<acc_t>(in.delta_bias);
  p.initial_state = pointer_of<acc_t>(in.initial_state);
  p.initial_state_batch_stride =
      in.initial_state.defined() && in.initial_state.size(0) > 1 ? in.initial_state.stride(0) : 0;
  p.state_offset = pointer_of<acc_t>(in.state_offset);
  p.out_offset = pointer_of<acc_t>(in.out_offset);
  p.B_scale = pointer_of<acc_t>(in.B_scale);
  p.B_bias = pointer_of<acc_t>(in.B_bias);
  p.C_scale = pointer_of<acc_t>(in.C_scale);
  p.C_bias = pointer_of<acc_t>(in.C_bias);
  p.lengths = pointer_of<int32_t>(in.lengths);
  p.cu_seqlens = pointer_of<int32_t>(in.cu_seqlens);
}

}  // namespace mpeft::ops::scan
