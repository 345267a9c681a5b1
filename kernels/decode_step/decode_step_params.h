#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"

// defines: DecodeLinearParams, DecodeConvParams, DecodeScanParams
//
// One token through one Mamba layer, for `rows` texts that are continued together. After rms_norm:
//   xz    = x W_in^T                                                             linear, with the convolution behind it
//   u     = silu(bias + sum over taps of weight_tap window_tap)                  window: conv_state of the parent, xz
//   x_dbl = u W_x^T                                                              linear
//   delta = softplus(x_dbl[:dt_rank] W_dt^T + dt_bias)
//   h     = exp(delta A) h_parent + delta u B,   y = (C h + D u) silu(z)         scan
//   out   = y W_out^T                                                            linear
// `parents[row]` names the row of the state before the step that row continues (beams follow their parents without a
// copy of the states); null: row itself, and the state may then be updated in place. Values are rounded to scalar_t
// where the operators for whole sequences store them: xz, u, x_dbl, delta, y.

namespace mpeft::kernels {

/// y = x W^T.
template <typename scalar_t>
struct DecodeLinearParams {
  int64_t rows = 0, in_features = 0, out_features = 0;
  const scalar_t* x = nullptr;       ///< (rows, in_features)
  const scalar_t* weight = nullptr;  ///< (out_features, in_features)
  scalar_t* y = nullptr;             ///< (rows, out_features)
};

/// The convolution's step on the first d_inner columns of xz.
template <typename scalar_t>
struct DecodeConvParams {
  using acc_t = acc_type_t<scalar_t>;
  int64_t rows = 0, d_inner = 0, width = 0;
  const scalar_t* x = nullptr;       ///< (rows, d_inner); unused when a linear makes it
  int64_t x_row_stride = 0;          ///< elements
  const acc_t* weight = nullptr;     ///< (d_inner, width)
  const acc_t* bias = nullptr;       ///< (d_inner), optional
  const scalar_t* state = nullptr;   ///< (state rows, width - 1, d_inner): the last inputs
  scalar_t* state_out = nullptr;     ///< (rows, width - 1, d_inner)
  const int64_t* parents = nullptr;  ///< (rows), optional
  scalar_t* u = nullptr;             ///< (rows, d_inner)
};

/// dt_proj, softplus, the recurrence and the gate.
template <typename scalar_t>
struct DecodeScanParams {
  using acc_t = acc_type_t<scalar_t>;
  int64_t rows = 0, d_inner = 0, d_state = 0, dt_rank = 0;
  int64_t state_rows = 0;               ///< rows of `state`, for a hint to the cache; 0: no hint
  const scalar_t* u = nullptr;          ///< (rows, d_inner)
  const scalar_t* z = nullptr;          ///< (rows, d_inner)
  int64_t z_row_stride = 0;             ///< elements
  const scalar_t* x_dbl = nullptr;      ///< (rows, dt_rank + 2 d_state): dt, B, C
  const scalar_t* dt_weight = nullptr;  ///< (d_inner, dt_rank); null: delta is given
  const scalar_t* delta = nullptr;      ///< (rows, d_inner): before bias and softplus
  const acc_t* dt_bias = nullptr;       ///< (d_inner)
  const acc_t* A = nullptr;             ///< (d_inner, d_state), negative
  const acc_t* D = nullptr;             ///< (d_inner)
  const acc_t* state = nullptr;         ///< (state rows, d_inner, d_state)
  acc_t* state_out = nullptr;           ///< (rows, d_inner, d_state)
  const int64_t* parents = nullptr;     ///< (rows), optional
  scalar_t* y = nullptr;                ///< (rows, d_inner)
};

}  // namespace mpeft::kernels
