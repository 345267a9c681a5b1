#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"
#include "kernels/common/sequence.h"

// defines: SelectiveScanInputs, SelectiveScanFwdParams, ScanBwdKernel, SelectiveScanBwdParams, has_state_terms,
// has_terms, move_to_row
//
// The recurrence (Gu and Dao 2023), channels-last, per row and channel:
//   delta'_t = softplus(delta_t + delta_bias)                           (bias, softplus optional)
//   B'_t     = B_scale B_t + B_bias,  C'_t = C_scale C_t + C_bias       (d_inner, d_state), all four optional
//   h_t      = exp(delta'_t A) h_{t-1} + delta'_t B'_t u_t              (d_inner, d_state), h_{-1} = initial_state or 0
//   y_t      = C'_t . (h_t + state_offset) + D u_t + out_offset         (d_inner), both offsets optional
//   out_t    = y_t silu(z_t)                                            (without z: y_t)
// Steps t >= lengths[row] are padding: they leave the state alone, their out and gradients are 0. With cu_seqlens the
// rows are packed one after another (sequence.h) and every row starts from its own initial state.

namespace mpeft::kernels {

template <typename scalar_t>
struct SelectiveScanInputs {
  using acc_t = acc_type_t<scalar_t>;
  int64_t batch = 0;   ///< rows
  int64_t seqlen = 0;  ///< steps of a row; packed: of all rows together
  int64_t d_inner = 0, d_state = 0;
  bool delta_softplus = false;
  Sequence<const scalar_t> u;              ///< (batch, seqlen, d_inner); packed: (1, seqlen, d_inner), and so on
  Sequence<const scalar_t> delta;          ///< (batch, seqlen, d_inner)
  Sequence<const scalar_t> z;              ///< (batch, seqlen, d_inner), optional
  Sequence<const scalar_t> B;              ///< (batch, seqlen, d_state)
  Sequence<const scalar_t> C;              ///< (batch, seqlen, d_state)
  const acc_t* A = nullptr;                ///< (d_inner, d_state), contiguous
  const acc_t* D = nullptr;                ///< (d_inner), optional
  const acc_t* delta_bias = nullptr;       ///< (d_inner), optional
  const acc_t* initial_state = nullptr;    ///< (batch or 1, d_inner, d_state), optional
  int64_t initial_state_batch_stride = 0;  ///< 0: one state for all rows
  const acc_t* state_offset = nullptr;     ///< (d_inner, d_state), optional; so are the four below
  const acc_t* B_scale = nullptr;
  const acc_t* B_bias = nullptr;
  const acc_t* C_scale = nullptr;
  const acc_t* C_bias = nullptr;
  const acc_t* out_offset = nullptr;    ///< (d_inner), optional
  const int32_t* lengths = nullptr;     ///< (batch), optional: seqlen for all
  const int32_t* cu_seqlens = nullptr;  ///< (batch + 1), optional: packed rows; cu_seqlens[0] = 0; no lengths then
};

template <typename scalar_t>
struct SelectiveScanFwdParams : SelectiveScanInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  scalar_t* out = nullptr;       ///< (batch, seqlen, d_inner), contiguous
  acc_t* last_state = nullptr;   ///< (batch, d_inner, d_state), optional
  scalar_t* y = nullptr;         ///< (batch, seqlen, d_inner), contiguous, optional: y for a backward that wants it;
                                 ///< CUDA only
  int64_t checkpoint_every = 0;  ///< steps; set when checkpoints are kept
  acc_t* checkpoints = nullptr;  ///< (n_row_parts, d_inner, d_state), optional: of each row the states before its
                                 ///< steps k * checkpoint_every
};

/// CUDA: by which main pass the backward runs where there are two (bwd_kernel.cuh, bwd_roles.cuh): the one that would
/// take less time, or for checks and benchmarks a given one (if it takes the params).
enum class ScanBwdKernel { kFaster, kTiles, kRoles };

template <typename scalar_t>
struct SelectiveScanBwdParams : SelectiveScanInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  Sequence<const scalar_t> dout;       ///< (batch, seqlen, d_inner)
  const acc_t* dlast_state = nullptr;  ///< (batch, d_inner, d_state), optional
  int64_t checkpoint_every = 0;
  const acc_t* checkpoints = nullptr;  ///< as the forward left them
  const scalar_t* y = nullptr;         ///< as the forward left it, optional
  ScanBwdKernel kernel = ScanBwdKernel::kFaster;
  // Gradients; null: not wanted, not computed.
  Sequence<scalar_t> du, ddelta, dz;  ///< (batch, seqlen, d_inner)
  Sequence<scalar_t> dB, dC;          ///< (batch, seqlen, d_state)
  acc_t* dA = nullptr;                ///< (d_inner, d_state)
  acc_t* dD = nullptr;                ///< (d_inner)
  acc_t* ddelta_bias = nullptr;       ///< (d_inner)
  acc_t* dinitial_state = nullptr;    ///< (batch, d_inner, d_state): per row; a shared state sums them over rows
  acc_t* dstate_offset = nullptr;     ///< (d_inner, d_state); so are the four below
  acc_t* dB_scale = nullptr;
  acc_t* dB_bias = nullptr;
  acc_t* dC_scale = nullptr;
  acc_t* dC_bias = nullptr;
  acc_t* dout_offset = nullptr;  ///< (d_inner)
};

/// True when one of the (d_inner, d_state) terms of B', C' and y is there.
template <typename scalar_t>
MPEFT_INLINE bool has_state_terms(const SelectiveScanInputs<scalar_t>& p) {
  return p.state_offset != nullptr || p.B_scale != nullptr || p.B_bias != nullptr || p.C_scale != nullptr ||
         p.C_bias != nullptr;
}

/// True when one of those or an out_offset is there.
template <typename scalar_t>
MPEFT_INLINE bool has_terms(const SelectiveScanInputs<scalar_t>& p) {
  return p.out_offset != nullptr || has_state_terms(p);
}

/// Moves the tensors that have steps to step 0 of the row.
template <typename scalar_t>
[[gnu::always_inline]] inline void move_to_row(SelectiveScanFwdParams<scalar_t>& p, int64_t row, const RowSpan& span) {
  for (Sequence<const scalar_t>* s : {&p.u, &p.delta, &p.z, &p.B, &p.C}) {
    if (s->data != nullptr) s->data += row_offset(*s, row, span);
  }
  p.out += span.first * p.d_inner;
}
template <typename scalar_t>
[[gnu::always_inline]] inline void move_to_row(SelectiveScanBwdParams<scalar_t>& p, int64_t row, const RowSpan& span) {
  for (Sequence<const scalar_t>* s : {&p.u, &p.delta, &p.z, &p.B, &p.C, &p.dout}) {
    if (s->data != nullptr) s->data += row_offset(*s, row, span);
  }
  for (Sequence<scalar_t>* s : {&p.du, &p.ddelta, &p.dz, &p.dB, &p.dC}) {
    if (s->data != nullptr) s->data += row_offset(*s, row, span);
  }
}

}  // namespace mpeft::kernels
