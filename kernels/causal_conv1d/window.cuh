#pragma once

#include <cstdint>

#include "kernels/causal_conv1d/causal_conv1d_params.h"
#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"

// defines: conv_rows, kConvEnoughThreads, conv_steps, ConvTile, locate_tile, conv_blocks, load_taps, PackedRow,
// conv_length, load_input, inputs_are_aligned
//
// Packed rows are walked as one row of all their steps, in which a PackedRow says where the windows start anew.

namespace mpeft::kernels {

/// Rows that threads walk.
template <typename scalar_t>
MPEFT_INLINE int64_t conv_rows(const CausalConv1dInputs<scalar_t>& p) {
  return p.cu_seqlens == nullptr ? p.batch : 1;
}

/// Steps a thread walks: as many as still leave `enough` threads to fill the chip, because each reads its channels'
/// weights, which are as many bytes as 8 steps of inputs.
inline constexpr int64_t kConvEnoughThreads = int64_t{132} * 1024;
template <typename scalar_t>
inline int conv_steps(const CausalConv1dInputs<scalar_t>& p, int vec, int least, int most,
                      int64_t enough = kConvEnoughThreads) {
  int steps = least;
  while (steps < most && conv_rows(p) * (p.seqlen / (2 * steps)) * (p.d_inner / vec) >= enough) steps *= 2;
  return steps;
}

/// What a thread works on: kVec channels from `channel`, steps of time block `time_block`, of `row`.
struct ConvTile {
  int64_t row, time_block, channel;
};

/// Blocks of a one-dimensional grid over (row, time block, channel vector), or 0 when they are too many.
template <typename scalar_t>
inline unsigned conv_blocks(const CausalConv1dInputs<scalar_t>& p, int64_t time_blocks, int vec, int threads) {
  const int64_t items = conv_rows(p) * time_blocks * ((p.d_inner + vec - 1) / vec);
  const int64_t blocks = (items + threads - 1) / threads;
  return blocks > INT32_MAX ? 0u : static_cast<unsigned>(blocks);
}

template <int kVec, typename scalar_t>
__device__ __forceinline__ bool locate_tile(const CausalConv1dInputs<scalar_t>& p, int64_t time_blocks,
                                            ConvTile* tile) {
  const unsigned vectors = static_cast<unsigned>((p.d_inner + kVec - 1) / kVec);
  const uint64_t item = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= static_cast<uint64_t>(conv_rows(p) * time_blocks) * vectors) return false;
  const uint64_t block = item / vectors;
  tile->channel = static_cast<int64_t>(item - block * vectors) * kVec;
  tile->row = static_cast<int64_t>(block / static_cast<uint64_t>(time_blocks));
  tile->time_block = static_cast<int64_t>(block) - tile->row * time_blocks;
  return true;
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
