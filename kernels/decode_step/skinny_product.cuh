#pragma once

#include <cstdint>

#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/overlap.cuh"

// defines: kTileFeatures, kProductThreads, SkinnyTile, skinny_product
//
// A few rows times a large matrix: the time is that of reading the matrix once. A block owns 16 output features; its
// warps share in_features between them, 32 at a time, and their sums are added in a fixed order. The weights are the
// 16 x 16 operand of the tensor cores' m16n8k16 and the rows the 16 x 8 one. A dot product does not care about the
// order of its terms, so each thread takes 8 neighbouring elements of a row (16 bytes) for both operands and calls them
// the ones the instruction wants: no shared memory, no shuffles.

namespace mpeft::kernels {

inline constexpr int kTileFeatures = 16;
inline constexpr int kProductWarps = 8;
inline constexpr int kProductThreads = 32 * kProductWarps;

__device__ __forceinline__ void multiply_add(float (&sum)[4], __nv_bfloat16, uint32_t a0, uint32_t a1, uint32_t a2,
                                             uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_add(float (&sum)[4], __half, uint32_t a0, uint32_t a1, uint32_t a2,
                                             uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

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
  static constexpr int kRows = 8 * kRowTiles, kPitch = kTileFeatures + 1;
  float part[kProductWarps][kRows * kPitch];

  __device__ __forceinline__ float value(int row, int feature) const {
    float sum = 0.f;
#pragma unroll
    for (int warp = 0; warp < kProductWarps; ++warp) sum += part[warp][row * kPitch + feature];
    return sum;
  }
};

/// Fills `tile` with all rows times features [first_feature, + 16); ends with a barrier.
/// Calls after_wait() when the results of earlier kernels are there, before it reads the rows.
template <typename scalar_t, int kRowTiles, typename AfterWait>
__device__ __forceinline__ void skinny_product(SkinnyTile<kRowTiles>& tile, const DecodeLinearParams<scalar_t>& p,
                                               int64_t first_feature, const AfterWait& after_wait) {
  // blocks of 32 on their way from memory: weights, rows
  constexpr int kAhead = kRowTiles == 1 ? 6 : kRowTiles == 2 ? 4 : 2, kTogether = kRowTiles <= 2 ? kAhead : 1;
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
    const int64_t row = min(static_cast<int64_t>(8 * t + group), p.rows - 1);
    x[t] = p.x + row * p.in_features + 8 * quarter;
  }
  float sum[kRowTiles][4] = {};
  for (int first = warp; first < n_blocks; first += kAhead * kProductWarps) {
    if (first != warp) load_weights(first);
#pragma unroll
    for (int i = 0; i < kAhead; i += kTogether) {
      uint4 r[kTogether][kRowTiles];
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        const int block = first + (i + j) * kProductWarps;
        if (block < n_blocks) {
#pragma unroll
          for (int t = 0; t < kRowTiles; ++t) r[j][t] = *reinterpret_cast<const uint4*>(x[t] + block * 32);
        }
      }
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        if (first + (i + j) * kProductWarps < n_blocks) {
          const uint4 &wl = w[i + j][0], &wh = w[i + j][1];
#pragma unroll
          for (int t = 0; t < kRowTiles; ++t) {
            multiply_add(sum[t], scalar_t{}, wl.x, wh.x, wl.y, wh.y, r[j][t].x, r[j][t].y);
            multiply_add(sum[t], scalar_t{}, wl.z, wh.z, wl.w, wh.w, r[j][t].z, r[j][t].w);
          }
        }
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

/// Calls launch(std::integral_constant<int, kRowTiles>) for the fewest tiles of 8 that hold the rows.
template <typename Launch>
cudaError_t with_row_tiles(int64_t rows, const Launch& launch) {
  if (rows <= 8) return launch(std::integral_constant<int, 1>{});
  if (rows <= 16) return launch(std::integral_constant<int, 2>{});
  return launch(std::integral_constant<int, 5>{});
}

}  // namespace mpeft::kernels
