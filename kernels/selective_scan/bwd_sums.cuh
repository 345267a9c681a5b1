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

/// How the warps of a block share dB and dC: `groups` (1, 2, 4 or 8) of them add every groups-th channel block of the
/// same 32 kVec neighbouring numbers of (tokens, 2 d_state). Few tokens have few such numbers: then more warps each. So
/// the order of the additions hangs on how many tokens there are together, as the cut of time does.
struct SharedSum {
  int groups;
  int64_t blocks;
};

inline SharedSum share_sum(int64_t numbers, int kVec) {
  constexpr int64_t kEnough = 2048;  // warps
  const int64_t spans = (numbers + 32 * kVec - 1) / (32 * kVec);
  int groups = 1;
  while (groups < kSumWarps && spans * groups < kEnough) groups *= 2;
  return {groups, (spans * groups + kSumWarps - 1) / kSumWarps};
}

/// Waits for the predecessor as late as it can: places are found while that still runs.
template <int kVec, typename scalar_t>
__device__ __forceinline__ void sum_dBC(const SelectiveScanBwdParams<scalar_t>& p, const float* partial,
                                        int64_t channel_blocks, int64_t block, int groups) {
  __shared__ __align__(16) float group_sum[kSumWarps][32][kVec];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp % groups;
  const int64_t width = 2 * p.d_state, total = n_tokens(p) * width;
  const int64_t i = ((block * kSumWarps + warp) / groups * 32 + lane) * kVec;
  const int64_t token = i / width, row = token / p.seqlen, t = token - row * p.seqlen;  // packed: row is 0
  const bool adds = i < total && !is_padding(p, token);  // padding has no partials, its gradient is 0
  partial += i;
  wait_for_predecessor();
  float sum[kVec] = {};
  if (adds) add_every<8>(sum, partial, total, group, channel_blocks, groups);
  if (groups > 1) {
    store_floats(group_sum[warp][lane], sum);
    __syncthreads();
    if (group != 0) return;
    for (int other = 1; other < groups; ++other) {
#pragma unroll
      for (int k = 0; k < kVec; ++k) sum[k] += group_sum[warp + other][lane][k];
    }
  }
  if (i >= total) return;
  const int64_t n = i - token * width;
  const bool is_C = n >= p.d_state;  // d_state is a multiple of kVec
  const Sequence<scalar_t>& gradient = is_C ? p.dC : p.dB;
  if (gradient.data == nullptr) return;
  scalar_t* to = gradient.data + row * gradient.batch_stride + t * gradient.time_stride + (is_C ? n - p.d_state : n);
#pragma unroll
  for (int k = 0; k < kVec; ++k) to[k] = from_float<scalar_t>(sum[k]);
}

/// The first dBC.blocks blocks add dB and dC, the others what is left in rows.
template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kSumWarps * 32)
    selective_scan_bwd_sums_kernel(const SelectiveScanBwdParams<scalar_t> p, const float* dBC_partial,
                                   const int64_t channel_blocks, const SharedSum dBC, const RowSums rows) {
  if (blockIdx.x < dBC.blocks) {
    sum_dBC<kVec>(p, dBC_partial, channel_blocks, blockIdx.x, dBC.groups);
  } else {
    wait_for_predecessor();
    sum_rows(rows, blockIdx.x - dBC.blocks);
  }
}

static_assert(kSumWarps * 32 == RowSums::kThreads);

}  // namespace detail

template <typename scalar_t>
cudaError_t launch_bwd_sums(const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan, const float* workspace,
                            cudaStream_t stream) {
  const int vec = p.d_state % 4 == 0 ? 4 : 1;
  const bool with_dBC = p.dB.data != nullptr || p.dC.data != nullptr;
  const detail::SharedSum dBC =
      with_dBC ? detail::share_sum(n_tokens(p) * 2 * p.d_state, vec) : detail::SharedSum{1, 0};
  const int64_t states = p.d_inner * p.d_state;
  const RowSums rows = plan_row_sums(plan.parts(static_cast<uint32_t>(p.batch)),
                                     {{workspace + plan.dA, states, p.dA},
                                      {workspace + plan.dstate_offset, states, p.dstate_offset},
                                      {workspace + plan.dB_scale, states, p.dB_scale},
                                      {workspace + plan.dB_bias, states, p.dB_bias},
                                      {workspace + plan.dC_scale, states, p.dC_scale},
                                      {workspace + plan.dC_bias, states, p.dC_bias},
                                      {workspace + plan.dD, p.d_inner, p.dD},
                                      {workspace + plan.dbias, p.d_inner, p.ddelta_bias},
                                      {workspace + plan.dout_offset, p.d_inner, p.dout_offset}});
  const int64_t blocks = dBC.blocks + rows.blocks;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const auto kernel = vec == 4 ? detail::selective_scan_bwd_sums_kernel<scalar_t, 4>
                               : detail::selective_scan_bwd_sums_kernel<scalar_t, 1>;
  return launch_early(kernel, dim3(static_cast<unsigned>(blocks)), detail::kSumWarps * 32, 0, stream, p,
                      workspace + plan.dBC, plan.channel_blocks, dBC, rows);
}

}  // namespace mpeft::kernels
