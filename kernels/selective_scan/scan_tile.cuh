#pragma once

#include <cstdint>

#include "kernels/common/cuda_sequence.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: copy_async_commit, copy_async_wait, TileCopy, fetch_channels, StateSource,
// fetch_states, widen_states, ScanBlock, locate_block, scan_blocks, is_tile_aligned
//
// Tiles of (steps, channels) and (steps, 2 d_state) from global to shared memory, and where a block works.

namespace mpeft::kernels {

namespace detail {

/// 16 bytes to shared memory without passing registers; zeros when !valid (source is then not read).
__device__ __forceinline__ void copy_async(void* shared, const void* source, bool valid) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(valid ? 16 : 0));
}

}  // namespace detail

__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;"); }
__device__ __forceinline__ void copy_async_wait() { asm volatile("cp.async.wait_group 0;" ::: "memory"); }

/// How the threads of a block share the copy of a (kSteps, kRowElements) tile: a thread copies one vector of every
/// kRows-th row, from row t, column c.
template <int kSteps, int kRowElements, int kThreads, typename scalar_t>
struct TileCopy {
  static constexpr int kVec = kVectorElements<scalar_t>, kRow = kRowElements / kVec, kItems = kSteps * kRow;
  static constexpr int kRows = kThreads / kRow, kPasses = kItems < kThreads ? 1 : kItems / kThreads;
  static_assert(kRowElements % kVec == 0 && kThreads % kRow == 0 && (kItems < kThreads || kItems % kThreads == 0));
  int t = static_cast<int>(threadIdx.x) / kRow, c = static_cast<int>(threadIdx.x) % kRow * kVec;

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
    detail::copy_async(&tile[t][copy.c], source + (t * time_stride + copy.c), t < steps && copy.c < channels);
  }
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
                                             int64_t step, int steps) {
  using Copy = TileCopy<kSteps, 2 * kStates, kThreads, scalar_t>;
  if (source.vectors) {
    const Copy copy;
    if (!copy.takes_part()) return;
    const bool is_B = copy.c < kStates;
    const scalar_t* from = is_B ? source.B + copy.c : source.C + (copy.c - kStates);
    const int stride = is_B ? source.B_stride : source.C_stride;
#pragma unroll
    for (int k = 0; k < Copy::kPasses; ++k) {
      const int t = copy.t + k * Copy::kRows;
      detail::copy_async(&tile[t][copy.c], from + (step + t) * stride, t < steps);
    }
    return;
  }
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kSteps * 2 * kStates; i += kThreads) {
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
                                                              bool vectors) {
  return {p.B.data + row * p.B.batch_stride, p.C.data + row * p.C.batch_stride, static_cast<int>(p.B.time_stride),
          static_cast<int>(p.C.time_stride), vectors};
}

/// wide[t] = (B[t] B_scale, C[t]) in float.
template <int kSteps, int kStates, int kThreads, typename scalar_t>
__device__ __forceinline__ void widen_states(float (&wide)[kSteps][2 * kStates],
                                             const scalar_t (&tile)[kSteps][2 * kStates], float B_scale) {
  constexpr int kRow = 2 * kStates / 4, kItems = kSteps * kRow;
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

/// Row and first channel of a block: blockIdx.x counts the channel blocks of row 0, then of row 1, ...
struct ScanBlock {
  int64_t row;
  int64_t first_channel;
  int channels;  ///< that exist, 1 to kChannels
};

template <int kChannels, typename scalar_t>
__device__ __forceinline__ ScanBlock locate_block(const SelectiveScanInputs<scalar_t>& p) {
  const auto channel_blocks = static_cast<unsigned>((p.d_inner + kChannels - 1) / kChannels);
  const unsigned row = blockIdx.x / channel_blocks;
  const int64_t first = static_cast<int64_t>(blockIdx.x - row * channel_blocks) * kChannels;
  const int64_t left = p.d_inner - first;
  return {row, first, static_cast<int>(left < kChannels ? left : kChannels)};
}

/// Blocks of that grid, or 0 when they are too many.
inline unsigned scan_blocks(int64_t batch, int64_t d_inner, int channels) {
  const int64_t blocks = batch * ((d_inner + channels - 1) / channels);
  return blocks > INT32_MAX ? 0u : static_cast<unsigned>(blocks);
}

/// Rows on 16-byte boundaries, and a tile's rows within reach of a 32-bit offset.
template <typename scalar_t>
inline bool is_tile_aligned(const Sequence<scalar_t>& x) {
  return is_vector_aligned(x.data, x.batch_stride, x.time_stride) && x.time_stride < (int64_t{1} << 25);
}

}  // namespace mpeft::kernels
