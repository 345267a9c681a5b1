#pragma once

// Selective scan, backward: the sums of the partials that the blocks left, in a fixed order.
#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_reduce.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: launch_bwd_sums

namespace mpeft::kernels {
namespace detail {

inline constexpr int kSumWarps = 8;

/// dB and dC of 32 kVec neighbouring numbers of (tokens, 2 d_state): a warp adds every eighth channel block.
template <int kVec, typename scalar_t>
__device__ __forceinline__ void sum_dBC(const SelectiveScanBwdParams<scalar_t>& p, const float* partial,
                                        int64_t channel_blocks, int64_t block) {
  __shared__ float warp_sum[kSumWarps][32][kVec];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t width = 2 * p.d_state, total = n_tokens(p) * width;
  const int64_t i = (block * 32 + lane) * kVec;
  const int64_t token = i / width, row = token / p.seqlen, t = token - row * p.seqlen;  // packed: row is 0
  float sum[kVec] = {};
  if (i < total && !is_padding(p, token)) {  // padding has no partials, its gradient is 0
#pragma unroll 4
    for (int64_t from = warp; from < channel_blocks; from += kSumWarps) {
      float x[kVec];
      load_floats(x, partial + from * total + i);
#pragma unroll
      for (int k = 0; k < kVec; ++k) sum[k] += x[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVec; ++k) warp_sum[warp][lane][k] = sum[k];
  __syncthreads();
  if (warp != 0 || i >= total) return;
#pragma unroll
  for (int other = 1; other < kSumWarps; ++other) {
#pragma unroll
    for (int k = 0; k < kVec; ++k) sum[k] += warp_sum[other][lane][k];
  }
  const int64_t n = i - token * width;
  const bool is_C = n >= p.d_state;  // d_state is a multiple of kVec
  const Sequence<scalar_t>& gradient = is_C ? p.dC : p.dB;
  if (gradient.data == nullptr) return;
  scalar_t* to = gradient.data + row * gradient.batch_stride + t * gradient.time_stride + (is_C ? n - p.d_state : n);
#pragma unroll
  for (int k = 0; k < kVec; ++k) to[k] = from_float<scalar_t>(sum[k]);
}

/// The first dBC_blocks blocks add dB and dC, the others what is left in rows.
template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kSumWarps * 32)
    selective_scan_bwd_sums_kernel(const SelectiveScanBwdParams<scalar_t> p, const float* dBC_partial,
                                   const int64_t channel_blocks, const int64_t dBC_blocks, const RowSums rows) {
  wait_for_predecessor();
  if (blockIdx.x < dBC_blocks) {
    sum_dBC<kVec>(p, dBC_partial, channel_blocks, blockIdx.x);
  } else {
    sum_rows(rows, blockIdx.x - dBC_blocks);
  }
}

static_assert(kSumWarps * 32 == RowSums::kThreads);

}  // namespace detail

template <typename scalar_t>
cudaError_t launch_bwd_sums(const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan, const float* workspace,
                            cudaStream_t stream) {
  const int vec = p.d_state % 4 == 0 ? 4 : 1;
  const bool with_dBC = p.dB.data != nullptr || p.dC.data != nullptr;
  const int64_t dBC_blocks = with_dBC ? (n_tokens(p) * 2 * p.d_state + 32 * vec - 1) / (32 * vec) : 0;
  const int64_t states = p.d_inner * p.d_state;
  const RowSums rows = plan_row_sums(plan.chunks * p.batch, {{workspace + plan.dA, states, p.dA},
                                                             {workspace + plan.dstate_offset, states, p.dstate_offset},
                                                             {workspace + plan.dB_scale, states, p.dB_scale},
                                                             {workspace + plan.dB_bias, states, p.dB_bias},
                                                             {workspace + plan.dC_scale, states, p.dC_scale},
                                                             {workspace + plan.dC_bias, states, p.dC_bias},
                                                             {workspace + plan.dD, p.d_inner, p.dD},
                                                             {workspace + plan.dbias, p.d_inner, p.ddelta_bias},
                                                             {workspace + plan.dout_offset, p.d_inner, p.dout_offset}});
  const int64_t blocks = dBC_blocks + rows.blocks;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const auto kernel = vec == 4 ? detail::selective_scan_bwd_sums_kernel<scalar_t, 4>
                               : detail::selective_scan_bwd_sums_kernel<scalar_t, 1>;
  return launch_early(kernel, dim3(static_cast<unsigned>(blocks)), detail::kSumWarps * 32, 0, stream, p,
                      workspace + plan.dBC, plan.channel_blocks, dBC_blocks, rows);
}

}  // namespace mpeft::kernels
