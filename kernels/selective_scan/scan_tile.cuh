#pragma once

#include <cstdint>

#include "kernels/common/async_copy.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: fresh_thread_index, fresh_block_row, TileCopy, fetch_channels, fetch_sequence, StateSource,
// fetch_states, widen_states, ScanBlock, locate_block, scan_grid,
// has_tile_shape, is_tile_aligned
//
// Tiles of (steps, channels) and (steps, 2 d_state) from global to shared memory, and where a block works.

namespace mpeft::kernels {

/// threadIdx.x, read anew: places derived from it are then computed again where they are needed instead of being kept,
/// or spilled, through a loop that has no register to spare.
__device__ __forceinline__ int fresh_thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

/// blockIdx.y, read anew.
__device__ __forceinline__ uint32_t fresh_block_row() {
  uint32_t row;
  asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(row));
  return row;
}

/// Where a block works: blockIdx.x is the block of channels, blockIdx.y the row. (Not one number that is divided here:
/// the quotient would live in every thread's registers, and so would all addresses made from it.)
struct ScanBlock {
  int64_t row;
  int64_t first_channel;
  int channels;  ///< that exist, 1 to kChannels
};

/// How the threads of a block share the copy of a (kSteps, kRowElements) tile: a thread copies one vector of every
/// kRows-th row, from row t, column c.
template <int kSteps, int kRowElements, int kThreads, typename scalar_t>
struct TileCopy {
  static constexpr int kVec = kVectorElements<scalar_t>, kRow = kRowElements / kVec, kItems = kSteps * kRow;
  static constexpr int kRows = kThreads / kRow, kPasses = kItems < kThreads ? 1 : kItems / kThreads;
  static_assert(kRowElements % kVec == 0 && kThreads % kRow == 0 && (kItems < kThreads || kItems % kThreads == 0));
  int t, c;

  __device__ __forceinline__ explicit TileCopy(int thread) : t(thread / kRow), c(thread % kRow * kVec) {}
  __device__ __forceinline__ bool takes_part() const { return kItems >= kThreads || t < kSteps; }
};

/// tile[t][c] = source[t][c] for t < steps, c < channels, else 0. source, the same for all threads, is the tile's first
/// step and channel. Call it where takes_part().
template <int kSteps, int kChannels, int kThreads, int kPitch, typename scalar_t>
__device__ __forceinline__ void fetch_channels(const TileCopy<kSteps, kChannels, kThreads, scalar_t>& copy,
                                               scalar_t (&tile)[kSteps][kPitch], const scalar_t* source,
                                               int time_stride, int steps, int channels) {
  using Copy = TileCopy<kSteps, kChannels, kThreads, scalar_t>;
#pragma unroll
  for (int k = 0; k < Copy::kPasses; ++k) {
    const int t = copy.t + k * Copy::kRows;
    copy_async(&tile[t][copy.c], source + (t * time_stride + copy.c), t < steps && copy.c < channels);
  }
}

/// The same from `step` of a row of x on.
template <int kSteps, int kChannels, int kThreads, int kPitch, typename scalar_t>
__device__ __forceinline__ void fetch_sequence(const TileCopy<kSteps, kChannels, kThreads, scalar_t>& copy,
                                               scalar_t (&tile)[kSteps][kPitch], const Sequence<const scalar_t>& x,
                                               int64_t row, const RowSpan& span, int step, int steps,
                                               const ScanBlock& block) {
  fetch_channels(copy, tile, x.data + row_offset(x, row, span) + step * x.time_stride + block.first_channel,
                 static_cast<int>(x.time_stride), steps, block.channels);
}

/// Where the B and C rows of a block come from.
template <typename scalar_t>
struct StateSource {
  const scalar_t* B;
  const scalar_t* C;
  int B_stride, C_stride;
  bool vectors;  ///< rows of both start on 16-byte boundaries
};

/// tile[t] = B[step + t] then C[step + t] for t < steps, else 0.
template <int kSteps, int kStates, int kThreads, typename scalar_t>
__device__ __forceinline__ void fetch_states(scalar_t (&tile)[kSteps][2 * kStates], const StateSource<scalar_t>& source,
                                             int64_t step, int steps, int thread = fresh_thread_index()) {
  using Copy = TileCopy<kSteps, 2 * kStates, kThreads, scalar_t>;
  if (source.vectors) {
    const Copy copy(thread);
    if (!copy.takes_part()) return;
    const bool is_B = copy.c < kStates;
    const scalar_t* from = is_B ? source.B + copy.c : source.C + (copy.c - kStates);
    const int stride = is_B ? source.B_stride : source.C_stride;
#pragma unroll
    for (int k = 0; k < Copy::kPasses; ++k) {
      const int t = copy.t + k * Copy::kRows;
      copy_async(&tile[t][copy.c], from + (step + t) * stride, t < steps);
    }
    return;
  }
#pragma unroll 1
  for (int i = thread; i < kSteps * 2 * kStates; i += kThreads) {
    const int t = i / (2 * kStates), n = i % (2 * kStates);
    scalar_t x = from_float<scalar_t>(0.f);
    if (t < steps) {
      x = n < kStates ? source.B[(step + t) * source.B_stride + n]
                      : source.C[(step + t) * source.C_stride + (n - kStates)];
    }
    tile[t][n] = x;
  }
}

template <typename scalar_t>
__device__ __forceinline__ StateSource<scalar_t> state_source(const SelectiveScanInputs<scalar_t>& p, int64_t row,
                                                              const RowSpan& span, bool vectors) {
  return {p.B.data + row_offset(p.B, row, span), p.C.data + row_offset(p.C, row, span),
          static_cast<int>(p.B.time_stride), static_cast<int>(p.C.time_stride), vectors};
}

/// wide[t] = (B[t] B_scale, C[t]) in float, or where wide has room for B alone, that.
template <int kSteps, int kStates, int kThreads, int kWide, typename scalar_t>
__device__ __forceinline__ void widen_states(float (&wide)[kSteps][kWide], const scalar_t (&tile)[kSteps][2 * kStates],
                                             float B_scale) {
  static_assert(kWide == kStates || kWide == 2 * kStates);
  constexpr int kRow = kWide / 4, kItems = kSteps * kRow;
#pragma unroll
  for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kThreads;
    if (kItems % kThreads == 0 || i < kItems) {
      const int t = i / kRow, n = i % kRow * 4;
      const float scale = n < kStates ? B_scale : 1.f;
      float x[4];
      load_floats(x, &tile[t][n]);
      *reinterpret_cast<float4*>(&wide[t][n]) = make_float4(scale * x[0], scale * x[1], scale * x[2], scale * x[3]);
    }
  }
}

inline constexpr int64_t kMaxGridRows = 65535;

template <int kChannels, typename scalar_t>
__device__ __forceinline__ ScanBlock locate_block(const SelectiveScanInputs<scalar_t>& p) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kChannels, left = p.d_inner - first;
  return {blockIdx.y, first, static_cast<int>(left < kChannels ? left : kChannels)};
}

inline dim3 scan_grid(int64_t batch, int64_t d_inner, int channels, int chunks = 1) {
  return dim3(static_cast<unsigned>((d_inner + channels - 1) / channels), static_cast<unsigned>(batch),
              static_cast<unsigned>(chunks));
}

/// What the tiled kernels need of the shape: a grid that holds it, 32-bit offsets within two rows of states, 32-bit
/// strides.
template <typename scalar_t>
inline bool has_tile_shape(const SelectiveScanInputs<scalar_t>& p) {
  return p.batch <= kMaxGridRows && p.d_inner * p.d_state < INT32_MAX / 2 &&
         p.d_inner % kVectorElements<scalar_t> == 0 && p.B.time_stride < INT32_MAX && p.C.time_stride < INT32_MAX;
}

/// Rows on 16-byte boundaries, and a tile's rows within reach of a 32-bit offset.
template <typename scalar_t>
inline bool is_tile_aligned(const Sequence<scalar_t>& x) {
  return is_vector_aligned(x.data, x.batch_stride, x.time_stride) && x.time_stride < (int64_t{1} << 25);
}

}  // namespace mpeft::kernels
