#pragma once

// Selective scan, backward, when the forward kept a state every kSelectiveScanCompactEvery steps only: recomputes the
// states every kSelectiveScanCheckpointEvery steps, which the other kernels start from, into the workspace.
//
// Equation: h_t = exp(delta_t A) h_{t-1} + delta_t B'_t u_t from each kept state over the steps to the next one.
// Mapping: kVec states of one channel and one kept state a thread: all stretches of time run in parallel. Where four
// neighbours share the channel and the stretch, each prepares a quarter of the steps (softplus).
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: expanded_floats, launch_bwd_expand

namespace mpeft::kernels {
namespace detail {

inline constexpr int kExpandThreads = 256;

/// The row that kept state number `part` of all belongs to.
template <typename scalar_t>
__device__ __forceinline__ int64_t row_of_part(const SelectiveScanInputs<scalar_t>& p, int64_t part, int64_t every) {
  if (p.cu_seqlens == nullptr) return part / ((p.seqlen + every - 1) / every);
  int64_t low = 0, high = p.batch - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (first_row_part(p, middle, row_span(p, middle), every) <= part) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/// kLanes neighbouring threads work on the same channel and stretch of time.
template <typename scalar_t, int kVec, int kLanes>
__global__ void __launch_bounds__(kExpandThreads)
    selective_scan_bwd_expand_kernel(const SelectiveScanBwdParams<scalar_t> p, const int64_t parts, float* expanded) {
  constexpr int kFine = static_cast<int>(kSelectiveScanCheckpointEvery), kPieceLanes = kFine / kLanes;
  constexpr int64_t kCoarse = kSelectiveScanCompactEvery;
  const int64_t vectors = p.d_state / kVec, row_vectors = p.d_inner * vectors;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kExpandThreads + threadIdx.x;
  const int64_t part = item / row_vectors;
  if (part >= parts) return;
  const int64_t at = item - part * row_vectors, channel = at / vectors, n = (at - channel * vectors) * kVec;
  const int64_t row = row_of_part(p, part, kCoarse);
  const RowSpan span = row_span(p, row);
  const int64_t first = (part - first_row_part(p, row, span, kCoarse)) * kCoarse;
  const int steps = static_cast<int>(min(kCoarse, span.length - first));
  if (steps <= 0) return;

  const int64_t state = channel * p.d_state + n, row_states = p.d_inner * p.d_state;
  float A[kVec], h[kVec];
  StateTerms terms[kVec];
  load_floats(A, p.A + state);
  load_floats(h, p.checkpoints + part * row_states + state);
  const bool with_terms = has_state_terms(p);
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    if (with_terms) terms[i] = state_terms(p, state + i);
  }
  float bias[kPieceLanes];
#pragma unroll
  for (int k = 0; k < kPieceLanes; ++k) {
    bias[k] = p.delta_bias == nullptr ? 0.f : softplus_bias<scalar_t>(p.delta_bias[channel]);
  }
  const scalar_t* const u = p.u.data + row_offset(p.u, row, span) + first * p.u.time_stride + channel;
  const scalar_t* const delta = p.delta.data + row_offset(p.delta, row, span) + first * p.delta.time_stride + channel;
  const scalar_t* const B = p.B.data + row_offset(p.B, row, span) + first * p.B.time_stride + n;
  float* to = expanded + (first_row_part(p, row, span, kFine) + first / kFine) * row_states + state;
  const int lane = threadIdx.x % 32, first_lane = kLanes == 1 ? lane : lane & ~(kLanes - 1);
  const unsigned together = kLanes == 1 ? 1u << lane : ((1u << kLanes) - 1) << first_lane;
  for (int t0 = 0; t0 < steps; t0 += kFine, to += row_states) {
    store_floats(to, h);
    // every load of the piece is on its way before the first is waited for; a lane prepares kPieceLanes of its steps
    float raw[kPieceLanes], u_own[kPieceLanes], step[kPieceLanes], B_rows[kFine][kVec];
#pragma unroll
    for (int k = 0; k < kPieceLanes; ++k) {
      const int t = min(t0 + (lane - first_lane) * kPieceLanes + k, steps - 1);
      raw[k] = to_float(delta[t * p.delta.time_stride]);
      u_own[k] = to_float(u[t * p.u.time_stride]);
    }
#pragma unroll
    for (int q = 0; q < kFine; ++q) {
      const scalar_t* const from = B + min(t0 + q, steps - 1) * p.B.time_stride;
#pragma unroll
      for (int i = 0; i < kVec; ++i) B_rows[q][i] = to_float(from[i]);
    }
    softplus_delta<scalar_t>(step, nullptr, raw, bias, p.delta_softplus);
#pragma unroll
    for (int q = 0; q < kFine; ++q) {
      if (t0 + q >= steps) break;
      float delta_q = step[q % kPieceLanes], u_q = u_own[q % kPieceLanes];
      if constexpr (kLanes > 1) {
        delta_q = __shfl_sync(together, delta_q, first_lane + q / kPieceLanes);
        u_q = __shfl_sync(together, u_q, first_lane + q / kPieceLanes);
      }
      const float delta_u = delta_q * kDeltaUnit<scalar_t> * u_q;
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        h[i] = fmaf(decay<scalar_t>(delta_q * A[i]), h[i], delta_u * terms[i].scaled_B(B_rows[q][i]));
      }
    }
  }
}

}  // namespace detail

/// What the expanded states take of the workspace; 0: the forward kept them all.
template <typename scalar_t>
int64_t expanded_floats(const SelectiveScanBwdParams<scalar_t>& p) {
  if (p.checkpoint_every != kSelectiveScanCompactEvery) return 0;
  return n_row_parts(p.batch, p.seqlen, p.cu_seqlens != nullptr, kSelectiveScanCheckpointEvery) * p.d_inner * p.d_state;
}

template <typename scalar_t>
cudaError_t launch_bwd_expand(const SelectiveScanBwdParams<scalar_t>& p, float* expanded, cudaStream_t stream) {
  const bool vectors = p.d_state % 4 == 0 && is_vector_aligned(p.A) && is_vector_aligned(p.checkpoints);
  const int vec = vectors ? 4 : 1;
  const int64_t parts = n_row_parts(p.batch, p.seqlen, p.cu_seqlens != nullptr, kSelectiveScanCompactEvery);
  const int64_t items = parts * p.d_inner * (p.d_state / vec);
  const int64_t blocks = (items + detail::kExpandThreads - 1) / detail::kExpandThreads;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  const auto kernel = !vectors              ? detail::selective_scan_bwd_expand_kernel<scalar_t, 1, 1>
                      : p.d_state % 16 == 0 ? detail::selective_scan_bwd_expand_kernel<scalar_t, 4, 4>
                                            : detail::selective_scan_bwd_expand_kernel<scalar_t, 4, 1>;
  kernel<<<static_cast<unsigned>(blocks), detail::kExpandThreads, 0, stream>>>(p, parts, expanded);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
