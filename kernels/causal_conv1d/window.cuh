#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/causal_conv1d/causal_conv1d_params.h"
#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"

// defines: conv_rows, ConvGrid, conv_steps, conv_grid, ConvTile, locate_tile, conv_silu, conv_silu_derivative,
// load_taps, PackedRow, conv_length, load_input, inputs_are_aligned
//
// A thread walks consecutive steps of kVec neighbouring channels. Packed rows are walked as one row of all their steps,
// in which a PackedRow says where the windows start anew.

namespace mpeft::kernels {

/// Rows that threads walk.
template <typename scalar_t>
MPEFT_INLINE int64_t conv_rows(const CausalConv1dInputs<scalar_t>& p) {
  return p.cu_seqlens == nullptr ? p.batch : 1;
}

/// How the walks of a problem lie in blocks: the lanes of a warp hold neighbouring channels, the warps of a block
/// consecutive walks of the same channels, whose weights they share in the cache.
struct ConvGrid {
  static constexpr int kLanes = 32, kWarps = 4, kThreads = kLanes * kWarps;
  int steps = 0;                ///< of a walk
  unsigned groups = 0;          ///< of kWarps walks, that cover the steps of a row
  unsigned channel_blocks = 0;  ///< of kLanes vectors
  unsigned blocks = 0;          ///< (row, group, channel block), the last fastest; 0 when they are too many
};

inline int64_t conv_ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Multiprocessors of the GPU that the walks were tuned on; fixed, so that sums are the same on every GPU (but for
/// those of bwd_short.cu, which not every GPU can take).
inline constexpr int kConvMultiprocessors = 132;

/// The shortest walk, a multiple of `multiple` steps, with which all blocks fit into `at_once` a multiprocessor.
template <typename scalar_t>
inline int conv_steps(const CausalConv1dInputs<scalar_t>& p, int vec, int at_once, int multiple) {
  const int64_t of_a_group = conv_rows(p) * conv_ceil(p.d_inner, ConvGrid::kLanes * vec);
  const int64_t groups = std::max<int64_t>(1, int64_t{kConvMultiprocessors} * at_once / of_a_group);
  const int64_t steps = conv_ceil(p.seqlen, groups * ConvGrid::kWarps);
  return static_cast<int>(std::min<int64_t>(conv_ceil(steps, multiple) * multiple, 1 << 20));
}

template <typename scalar_t>
inline ConvGrid conv_grid(const CausalConv1dInputs<scalar_t>& p, int vec, int steps) {
  ConvGrid grid;
  grid.steps = steps;
  grid.groups = static_cast<unsigned>(conv_ceil(conv_ceil(p.seqlen, steps), ConvGrid::kWarps));
  grid.channel_blocks = static_cast<unsigned>(conv_ceil(p.d_inner, ConvGrid::kLanes * vec));
  const int64_t blocks = conv_rows(p) * grid.groups * grid.channel_blocks;
  grid.blocks = blocks > INT32_MAX ? 0u : static_cast<unsigned>(blocks);
  return grid;
}

/// The walk of a thread: channels from `channel`, steps [first_step, last_step) of `row`.
struct ConvTile {
  int64_t row, channel, first_step, last_step;
  int64_t group;  ///< of all rows' groups
  bool exists;    ///< false: beyond the last channel or step
};

/// 32-bit divisions: two of 64 bits take as long as the first load of a short walk.
template <int kVec, typename scalar_t>
__device__ __forceinline__ ConvTile locate_tile(const CausalConv1dInputs<scalar_t>& p, const ConvGrid& grid) {
  const unsigned warp = threadIdx.x / ConvGrid::kLanes, lane = threadIdx.x % ConvGrid::kLanes;
  const unsigned group = blockIdx.x / grid.channel_blocks, row = group / grid.groups;
  ConvTile tile;
  tile.row = row;
  tile.group = group;
  tile.channel = (int64_t{blockIdx.x - group * grid.channel_blocks} * ConvGrid::kLanes + lane) * kVec;
  tile.first_step = (int64_t{group - row * grid.groups} * ConvGrid::kWarps + warp) * grid.steps;
  tile.last_step = min(tile.first_step + grid.steps, p.seqlen);
  tile.exists = tile.channel < p.d_inner && tile.first_step < p.seqlen;
  return tile;
}

/// silu(x), and its derivative, with as few instructions as they take.
template <typename scalar_t>
__device__ __forceinline__ float conv_silu(float x) {
  return x * sigmoid<scalar_t>(x);
}
template <>
__device__ __forceinline__ float conv_silu<__nv_bfloat16>(float x) {
  const float half = 0.5f * x;
  return fmaf(half, tanh_approx(half), half);
}
template <typename scalar_t>
__device__ __forceinline__ float conv_silu_derivative(float x) {
  const float s = sigmoid<scalar_t>(x);
  return fmaf(s, fmaf(-x, s, x), s);
}

/// weight[k][c] and bias[c] of the channels from `channel`. kVec > 1: weight and bias start on 16-byte boundaries.
template <int kWidth, int kVec, typename scalar_t>
__device__ __forceinline__ void load_taps(float (&weight)[kWidth][kVec], float (&bias)[kVec],
                                          const CausalConv1dInputs<scalar_t>& p, int64_t channel) {
  float taps[kVec * kWidth];
  if constexpr (kVec * kWidth % 4 == 0) {
    load_floats(taps, p.weight + channel * kWidth);
  } else {
#pragma unroll
    for (int i = 0; i < kVec * kWidth; ++i) taps[i] = p.weight[channel * kWidth + i];
  }
#pragma unroll
  for (int c = 0; c < kVec; ++c) {
    bias[c] = 0.f;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) weight[k][c] = taps[c * kWidth + k];
  }
  if (p.bias != nullptr) load_floats(bias, p.bias + channel);
}

/// The packed row that a step lies in.
struct PackedRow {
  int64_t row, begin, end;  ///< its steps among all

  /// The row of `step`; behind the last row, or among empty ones, a row that ends at or before it.
  template <typename scalar_t>
  static __device__ __forceinline__ PackedRow of(const CausalConv1dInputs<scalar_t>& p, int64_t step) {
    int64_t low = 0, high = p.batch - 1;  // the last row that begins at or before the step
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (p.cu_seqlens[middle] <= step) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return at(p, low);
  }
  template <typename scalar_t>
  static __device__ __forceinline__ PackedRow at(const CausalConv1dInputs<scalar_t>& p, int64_t row) {
    const RowSpan span = row_span(p, row);
    return {row, span.first, span.first + span.length};
  }
  /// True when `step` begins a later row, to which this then moves on.
  template <typename scalar_t>
  __device__ __forceinline__ bool moves_on(const CausalConv1dInputs<scalar_t>& p, int64_t step) {
    if (step < end || row + 1 >= p.batch) return false;
    *this = of(p, step);
    return begin == step && step < end;
  }
};

/// Steps that are not padding of a row that a thread walks.
template <bool kPacked, typename scalar_t>
__device__ __forceinline__ int64_t conv_length(const CausalConv1dInputs<scalar_t>& p, int64_t row) {
  return row_length(kPacked ? p.cu_seqlens + p.batch : p.lengths, kPacked ? 0 : row, p.seqlen);
}

/// x at step t of a row that begins at `begin` of its tensor: the initial state before step 0, 0 in the padding.
template <int kWidth, int kVec, typename scalar_t>
__device__ __forceinline__ void load_input(float (&x)[kVec], const CausalConv1dInputs<scalar_t>& p, int64_t row,
                                           int64_t begin, int64_t t, int64_t length, int64_t channel) {
#pragma unroll
  for (int c = 0; c < kVec; ++c) x[c] = 0.f;
  if (t >= 0) {
    if (t < length) load_floats(x, p.x.data + row * p.x.batch_stride + (begin + t) * p.x.time_stride + channel);
  } else if (p.initial_state != nullptr) {
    load_floats(x, p.initial_state + row * p.initial_state_batch_stride + (t + kWidth - 1) * p.d_inner + channel);
  }
}

template <typename scalar_t>
inline bool inputs_are_aligned(const CausalConv1dInputs<scalar_t>& p) {
  return p.d_inner % kVectorElements<scalar_t> == 0 && is_vector_aligned(p.x.data, p.x.batch_stride, p.x.time_stride) &&
         is_vector_aligned(p.initial_state, p.initial_state_batch_stride) && is_vector_aligned(p.weight) &&
         is_vector_aligned(p.bias);
}

}  // namespace mpeft::kernels
