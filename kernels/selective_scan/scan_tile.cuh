#pragma once

#include <cstdint>

#include "kernels/common/cuda_sequence.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: copy_async_commit, copy_async_wait, fetch_channels, fetch_states, widen_states, ScanBlock, locate_block
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

/// tile[t][c] = source[t][c] for t < steps, c < channels, else 0. source points at the tile's first step and channel.
template <int kSteps, int kChannels, int kPitch, int kThreads, typename scalar_t>
__device__ __forceinline__ void fetch_channels(scalar_t (&tile)[kSteps][kPitch], const scalar_t* source,
                                               int64_t time_stride, int steps, int channels) {
  constexpr int kVec = kVectorElements<scalar_t>, kRow = kChannels / kVec, kItems = kSteps * kRow;
#pragma unroll
  for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kThreads;
    if (kItems % kThreads == 0 || i < kItems) {
      const int t = i / kRow, c = i % kRow * kVec;
      const bool valid = t < steps && c < channels;
      detail::copy_async(&tile[t][c], valid ? source + t * time_stride + c : source, valid);
    }
  }
}

/// tile[t] = B[t] then C[t] for t < steps, else 0. vectors: both have 16-byte aligned rows.
template <int kSteps, int kStates, int kThreads, typename scalar_t>
__device__ __forceinline__ void fetch_states(scalar_t (&tile)[kSteps][2 * kStates], const Sequence<const scalar_t>& B,
                                             const Sequence<const scalar_t>& C, int64_t B_start, int64_t C_start,
                                             int steps, bool vectors) {
  constexpr int kVec = kVectorElements<scalar_t>, kRow = 2 * kStates / kVec, kItems = kSteps * kRow;
  const scalar_t* const b = B.data + B_start;
  const scalar_t* const c = C.data + C_start;
  if (vectors) {
#pragma unroll
    for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
      const int i = static_cast<int>(threadIdx.x) + k * kThreads;
      if (kItems % kThreads == 0 || i < kItems) {
        const int t = i / kRow, n = i % kRow * kVec;
        const scalar_t* source = n < kStates ? b + t * B.time_stride + n : c + t * C.time_stride + (n - kStates);
        detail::copy_async(&tile[t][n], t < steps ? source : b, t < steps);
      }
    }
    return;
  }
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kSteps * 2 * kStates; i += kThreads) {
    const int t = i / (2 * kStates), n = i % (2 * kStates);
    scalar_t x = from_float<scalar_t>(0.f);
    if (t < steps) x = n < kStates ? b[t * B.time_stride + n] : c[t * C.time_stride + (n - kStates)];
    tile[t][n] = x;
  }
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

template <typename scalar_t>
inline bool is_vector_aligned(const Sequence<scalar_t>& x) {
  return is_vector_aligned(x.data, x.batch_stride, x.time_stride);
}

}  // namespace mpeft::kernels
