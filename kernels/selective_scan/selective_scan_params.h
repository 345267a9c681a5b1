#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"
#include "kernels/common/sequence.h"

// defines: SelectiveScanInputs, SelectiveScanFwdParams, SelectiveScanBwdParams
//
// The selective scan of Mamba (Gu and Dao 2023, algorithm 2), channels-last:
//   delta' = softplus(delta + delta_bias)                               (softplus optional)
//   h_t    = exp(delta'_t A) h_{t-1} + delta'_t B_t u_t                 (d_inner, d_state), h_{-1} = initial_state or 0
//   y_t    = C_t . h_t + D u_t                                          (d_inner)
//   out_t  = y_t silu(z_t)                                              (without z: y_t)
// Steps t >= lengths[row] are padding: they leave the state alone, their out and gradients are 0.

namespace mpeft::kernels {

template <typename scalar_t>
struct SelectiveScanInputs {
  using acc_t = acc_type_t<scalar_t>;
  int64_t batch = 0, seqlen = 0, d_inner = 0, d_state = 0;
  bool delta_softplus = false;
  Sequence<const scalar_t> u;              ///< (batch, seqlen, d_inner)
  Sequence<const scalar_t> delta;          ///< (batch, seqlen, d_inner)
  Sequence<const scalar_t> z;              ///< (batch, seqlen, d_inner), optional
  Sequence<const scalar_t> B;              ///< (batch, seqlen, d_state)
  Sequence<const scalar_t> C;              ///< (batch, seqlen, d_state)
  const acc_t* A = nullptr;                ///< (d_inner, d_state), contiguous
  const acc_t* D = nullptr;                ///< (d_inner), optional
  const acc_t* delta_bias = nullptr;       ///< (d_inner), optional
  const acc_t* initial_state = nullptr;    ///< (batch or 1, d_inner, d_state), optional
  int64_t initial_state_batch_stride = 0;  ///< 0: one state for all rows
  const int32_t* lengths = nullptr;        ///< (batch), optional: seqlen for all
};

template <typename scalar_t>
struct SelectiveScanFwdParams : SelectiveScanInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  scalar_t* out = nullptr;       ///< (batch, seqlen, d_inner), contiguous
  acc_t* last_state = nullptr;   ///< (batch, d_inner, d_state), optional
  int64_t checkpoint_every = 0;  ///< steps; set when checkpoints are kept
  acc_t* checkpoints = nullptr;  ///< (batch, ceil(seqlen / checkpoint_every), d_inner, d_state), optional: the state
                                 ///< before step k * checkpoint_every
};

template <typename scalar_t>
struct SelectiveScanBwdParams : SelectiveScanInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  Sequence<const scalar_t> dout;       ///< (batch, seqlen, d_inner)
  const acc_t* dlast_state = nullptr;  ///< (batch, d_inner, d_state), optional
  int64_t checkpoint_every = 0;
  const acc_t* checkpoints = nullptr;  ///< as the forward left them
  // Gradients; null: not wanted, not computed.
  Sequence<scalar_t> du, ddelta, dz;  ///< (batch, seqlen, d_inner)
  Sequence<scalar_t> dB, dC;          ///< (batch, seqlen, d_state)
  acc_t* dA = nullptr;                ///< (d_inner, d_state)
  acc_t* dD = nullptr;                ///< (d_inner)
  acc_t* ddelta_bias = nullptr;       ///< (d_inner)
  acc_t* dinitial_state = nullptr;    ///< (batch, d_inner, d_state): per row; a shared state sums them over rows
};

}  // namespace mpeft::kernels
