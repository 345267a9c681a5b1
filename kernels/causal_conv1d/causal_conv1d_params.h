#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"
#include "kernels/common/sequence.h"

// defines: CausalConv1dInputs, CausalConv1dFwdParams, CausalConv1dBwdParams
//
// Depthwise causal convolution, channels-last:
//   p_t[d] = bias[d] + sum_{k < width} weight[d][k] x_{t - (width - 1) + k}[d];   out_t = silu(p_t) or p_t
// Steps before the first are initial_state (its last column is x_{-1}) or 0. Steps t >= lengths[row] are padding: their
// out and gradients are 0.

namespace mpeft::kernels {

template <typename scalar_t>
struct CausalConv1dInputs {
  using acc_t = acc_type_t<scalar_t>;
  int64_t batch = 0, seqlen = 0, d_inner = 0, width = 0;  ///< width 2, 3 or 4
  bool silu = true;
  Sequence<const scalar_t> x;     ///< (batch, seqlen, d_inner)
  const acc_t* weight = nullptr;  ///< (d_inner, width), contiguous
  const acc_t* bias = nullptr;    ///< (d_inner), optional
  const scalar_t* initial_state =
      nullptr;                             ///< (batch or 1, width - 1, d_inner), contiguous but for the batch, optional
  int64_t initial_state_batch_stride = 0;  ///< 0: one state for all rows
  const int32_t* lengths = nullptr;        ///< (batch), optional
};

template <typename scalar_t>
struct CausalConv1dFwdParams : CausalConv1dInputs<scalar_t> {
  scalar_t* out = nullptr;         ///< (batch, seqlen, d_inner), contiguous
  scalar_t* last_state = nullptr;  ///< (batch, width - 1, d_inner), optional: the inputs before step lengths[row]
};

template <typename scalar_t>
struct CausalConv1dBwdParams : CausalConv1dInputs<scalar_t> {
  using acc_t = acc_type_t<scalar_t>;
  Sequence<const scalar_t> dout;    ///< (batch, seqlen, d_inner)
  Sequence<scalar_t> dx;            ///< (batch, seqlen, d_inner), optional
  acc_t* dweight = nullptr;         ///< (d_inner, width), optional
  acc_t* dbias = nullptr;           ///< (d_inner), optional
  acc_t* dinitial_state = nullptr;  ///< (batch, width - 1, d_inner), optional: per row
};

}  // namespace mpeft::kernels
