#pragma once

#include <cstdint>

#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/overlap.cuh"
#include "kernels/decode_step/tensor_core.cuh"

// defines: kTileFeatures, kProductThreads, SkinnyTile, skinny_product
//
// A few rows times a large matrix: the time is that of reading the matrix once. A block owns 16 output features and 8
// or 16 rows; its warps share in_features between them, 32 at a time, and their sums are added in a fixed order. Each
// thread loads 8 neighbouring elements of a row (16 bytes) for both operands (tensor_core.cuh): no shared memory, no
// shuffles.

namespace mpeft::kernels {

inline constexpr int kTileFeatures = 16;
inline constexpr int kProductWarps = 8;
inline constexpr int kProductThreads = 32 * kProductWarps;

/// A matrix element is read once: past the first-level cache, which the rows need.
__device__ __forceinline__ uint4 load_once(const void* p) {
  uint4 x;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(p));
  return x;
}

/// One block's product, in shared memory: value(row, feature) after skinny_product.
template <int kRowTiles>
struct SkinnyTile {
  static constexpr int kFeatures = kTileFeatures, kRows = 8 * kRowTiles, kPitch = kTileFeatures + 1;
  float part[kProductWarps][kRows * kPitch];

  __device__ __forceinline__ float value(int row, int feature) const {
    float sum = 0.f;
#pragma unroll
    for (int warp = 0; warp < kProductWarps; ++warp) sum += part[warp][row * kPitch + feature];
    return sum;
  }
};

/// Fills `tile` with rows [first_row, + kRows) times features [first_feature, + 16); ends with a barrier.
/// Calls after_wait() when the results of earlier kernels are there, before it reads the rows.
template <typename scalar_t, int kRowTiles, typename AfterWait>
__device__ __forceinline__ void skinny_product(SkinnyTile<kRowTiles>& tile, const DecodeLinearParams<scalar_t>& p,
                                               int64_t first_feature, int64_t first_row, const AfterWait& after_wait) {
  // blocks of 32 on their way from memory: weights, rows
  constexpr int kAhead = kRowTiles == 1 ? 6 : 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quarter = lane % 4;
  const int n_blocks = static_cast<int>(p.in_features / 32);
  // features past the end repeat the last, as rows do: nobody reads their sums
  const int64_t last = p.out_features - 1;
  const scalar_t* const low = p.weight + min(first_feature + group, last) * p.in_features + 8 * quarter;
  const scalar_t* const high = p.weight + min(first_feature + group + 8, last) * p.in_features + 8 * quarter;

  uint4 w[kAhead][2];
  const auto load_weights = [&](int first) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int block = first + i * kProductWarps;
      if (block < n_blocks) {
        w[i][0] = load_once(low + block * 32);
        w[i][1] = load_once(high + block * 32);
      }
    }
  };
  load_weights(warp);
  wait_for_previous_kernel();
  after_wait();

  const scalar_t* x[kRowTiles];
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) {
    const int64_t row = min(first_row + 8 * t + group, p.rows - 1);
    x[t] = p.x + row * p.in_features + 8 * quarter;
  }
  float sum[kRowTiles][4] = {};
  for (int first = warp; first < n_blocks; first += kAhead * kProductWarps) {
    if (first != warp) load_weights(first);
    uint4 r[kAhead][kRowTiles];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int block = first + i * kProductWarps;
      if (block < n_blocks) {
#pragma unroll
        for (int t = 0; t < kRowTiles; ++t) r[i][t] = *reinterpret_cast<const uint4*>(x[t] + block * 32);
      }
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i * kProductWarps < n_blocks) {
#pragma unroll
        for (int t = 0; t < kRowTiles; ++t) multiply_add(sum[t], scalar_t{}, w[i][0], w[i][1], r[i][t]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kRowTiles; ++t) {
    float* const at = tile.part[warp] + (8 * t + 2 * quarter) * tile.kPitch + group;
    at[0] = sum[t][0];
    at[tile.kPitch] = sum[t][1];
    at[8] = sum[t][2];
    at[tile.kPitch + 8] = sum[t][3];
  }
  __syncthreads();
}

}  // namespace mpeft::kernels
