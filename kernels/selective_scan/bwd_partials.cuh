#pragma once

#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/scan_tile.cuh"

// defines: clear_partials
//
// Selective scan, backward, main pass: the partials of chunks that have nothing to do.

namespace mpeft::kernels {

/// Zeros for a (row, block of channels) pair's partials of a chunk, for the sums to add: where the pair is not cut,
/// chunk 0 does all the work.
template <typename Shape, typename scalar_t>
__device__ __forceinline__ void clear_partials(const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan,
                                               float* workspace, const ScanBlock& block, int chunk) {
  const int64_t partial_row = chunk * p.batch + block.row;
  auto clear = [&](const float* gradient, int64_t partial, int of_channel) {
    if (gradient == nullptr) return;
    float* const to = workspace + partial + (partial_row * p.d_inner + block.first_channel) * of_channel;
    for (int i = threadIdx.x; i < block.channels * of_channel; i += Shape::kThreads) to[i] = 0.f;
  };
  clear(p.dA, plan.dA, Shape::kDState);
  clear(p.dstate_offset, plan.dstate_offset, Shape::kDState);
  clear(p.dB_scale, plan.dB_scale, Shape::kDState);
  clear(p.dB_bias, plan.dB_bias, Shape::kDState);
  clear(p.dC_scale, plan.dC_scale, Shape::kDState);
  clear(p.dC_bias, plan.dC_bias, Shape::kDState);
  clear(p.dD, plan.dD, 1);
  clear(p.ddelta_bias, plan.dbias, 1);
  clear(p.dout_offset, plan.dout_offset, 1);
}

}  // namespace mpeft::kernels
