#pragma once

#include <cstdint>

#include "kernels/common/cuda_vector.cuh"

// defines: kCachedVectors, kMaxThreads, threads_per_row, sum_over_row

namespace mpeft::kernels {

/// Vectors of a row that a thread keeps in registers between the two passes over it; longer rows are read again.
inline constexpr int kCachedVectors = 2;
inline constexpr int kMaxThreads = 256;

/// Threads of the block that a row gets: a multiple of 32 that leaves the fewest idle, and of those the smallest.
inline int threads_per_row(int64_t vectors) {
  int best = kMaxThreads;
  int64_t best_places = INT64_MAX;
  for (int passes = kCachedVectors; passes >= 1; --passes) {
    const int64_t threads = ((vectors + passes - 1) / passes + 31) / 32 * 32;
    if (threads <= kMaxThreads && threads * passes < best_places) {
      best_places = threads * passes;
      best = static_cast<int>(threads);
    }
  }
  return best;
}

/// Sum of x over the threads of a block, in every one of them; the order is fixed. Call it once a kernel.
__device__ __forceinline__ float sum_over_row(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  if (blockDim.x == 32) return x;
  __shared__ float warp_sum[kMaxThreads / 32];
  if (threadIdx.x % 32 == 0) warp_sum[threadIdx.x / 32] = x;
  __syncthreads();
  x = 0.f;
#pragma unroll
  for (int warp = 0; warp < kMaxThreads / 32; ++warp) {
    if (warp * 32 < blockDim.x) x += warp_sum[warp];
  }
  return x;
}

}  // namespace mpeft::kernels
