#pragma once

#include <cstdint>

#include "kernels/common/dtypes.h"
#include "kernels/common/sequence.h"

// defines: CausalConv1dInputs, CausalConv1dFwdParams, CausalConv1dBwdParams, move_to_row
//
// Depthwise causal convolution, channels-last:
//   p_t[d] = bias[d] + sum_{k < width} weight[d][k] x_{t - (width - 1) + k}[d];   out_t = silu(p_t) or p_t
// Steps before the first are initial_state (its last column is x_{-1}) or 0. Steps t >= lengths[row] are padding: their
// out and gradients are 0. With cu_seqlens the rows are packed one after another (sequence.h): no step reads another
// row's inputs.

namespace mpeft::kernels {

template <typename scalar_t>
struct CausalConv1dInputs {
  using acc_t = acc_type_t<scalar_t>;
  int64_t batch = 0;               ///< rows
  int64_t seqlen = 0;              ///< steps of a row; packed: of all rows together
  int64_t d_inner = 0, width = 0;  ///< width 2, 3 or 4
  bool silu = true;
  Sequence<const scalar_t> x;     ///< (batch, seqlen, d_inner)
  const acc_t* weight = nullptr;  ///< (d_inner, width), contiguous
  const acc_t* bias = nullptr;    ///< (d_inner), optional
  const scalar_t* initial_state =
      nullptr;                             ///< (batch or 1, width - 1, d_inner), contiguous but for the batch, optional
  int64_t initial_state_batch_stride = 0;  ///< 0: one state for all rows
  const int32_t* lengths = nullptr;        ///< (batch), optional
  const int32_t* cu_seqlens = nullptr;     ///< (batch + 1), optional: packed rows; no lengths then
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

/// Moves the tensors that have steps to step 0 of the row.
template <typename scalar_t>
[[gnu::always_inline]] inline void move_to_row(CausalConv1dFwdParams<scalar_t>& p, int64_t row, const RowSpan& span) {
  p.x.data += row_offset(p.x, row, span);
  p.out += span.first * p.d_inner;
}
template <typename scalar_t>
[[gnu::always_inline]] inline void move_to_row(CausalConv1dBwdParams<scalar_t>& p, int64_t row, const RowSpan& span) {
  p.x.data += row_offset(p.x, row, span);
  p.dout.data += row_offset(p.dout, row, span);
  if (p.dx.data != nullptr) p.dx.data += row_offset(p.dx, row, span);
}

}  // namespace mpeft::kernels
