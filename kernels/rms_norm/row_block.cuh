#pragma once

#include <cstdint>

#include "kernels/common/cuda_vector.cuh"

// defines: kFwdCached, kBwdCached, threads_per_row, sum_over_row

namespace mpeft::kernels {

/// Vectors of a row that a thread keeps in registers between the two passes over it; longer rows are read again. The
/// backward keeps three tensors, so fewer vectors of each.
inline constexpr int kFwdCached = 4, kBwdCached = 2;

/// Threads that share a row, 32, 64, 128 or 256: the fewest that hold it in their registers.
inline int threads_per_row(int64_t vectors, int cached) {
  int threads = 32;
  while (threads < 256 && vectors > threads * cached) threads *= 2;
  return threads;
}

/// Sum of x over the kThreads threads of a row, in every one of them; the order is fixed. kThreads 32: no barrier.
template <int kThreads>
__device__ __forceinline__ float sum_over_row(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  if constexpr (kThreads > 32) {
    __shared__ float warp_sum[kThreads / 32];
    __syncthreads();  // the last row's readers are done
    if (threadIdx.x % 32 == 0) warp_sum[threadIdx.x / 32] = x;
    __syncthreads();
    x = warp_sum[0];
#pragma unroll
    for (int warp = 1; warp < kThreads / 32; ++warp) x += warp_sum[warp];
  }
  return x;
}

}  // namespace mpeft::kernels
