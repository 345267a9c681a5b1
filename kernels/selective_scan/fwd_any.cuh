#pragma once

// Selective scan, forward, for every shape the tiled kernel does not take: any d_state up to 256, any d_inner, any
// alignment.
//
// Mapping: a warp a channel, states n, n + 32, ... in lane n. Lanes first prepare one step each of 32 steps, then the
// warp walks
//   them with shuffles. Several times slower than the tiled kernel.
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: kMaxDState, kAnyWarps, warp_sum, selective_scan_fwd_any_kernel

namespace mpeft::kernels {

inline constexpr int kMaxDState = 256;
inline constexpr int kAnyWarps = 8;

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

template <typename scalar_t>
__global__ void __launch_bounds__(kAnyWarps * 32)
    selective_scan_fwd_any_kernel(const SelectiveScanFwdParams<scalar_t> p) {
  constexpr int kLaneStates = kMaxDState / 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kAnyWarps + threadIdx.x / 32;
  if (item >= p.batch * p.d_inner) return;
  const int64_t row = item / p.d_inner, channel = item - row * p.d_inner;
  const int lane = threadIdx.x % 32, d_state = static_cast<int>(p.d_state);
  const RowSpan span = row_span(p, row);
  const int64_t length = span.length;
  const int last_of_every = static_cast<int>(p.checkpoint_every) - 1;  // a power of 2, less 1
  float* kept = p.checkpoints == nullptr
                    ? nullptr
                    : p.checkpoints + (first_checkpoint(p, row, span) * p.d_inner + channel) * d_state;

  float A[kLaneStates], h[kLaneStates];
  StateTerms terms[kLaneStates];
#pragma unroll
  for (int i = 0; i < kLaneStates; ++i) {
    const int n = lane + 32 * i;
    A[i] = n < d_state ? p.A[channel * d_state + n] : 0.f;
    h[i] = n < d_state && p.initial_state != nullptr
               ? p.initial_state[row * p.initial_state_batch_stride + channel * d_state + n]
               : 0.f;
    terms[i] = n < d_state ? state_terms(p, channel * d_state + n) : StateTerms{};
  }
  const float D = p.D == nullptr ? 0.f : p.D[channel];
  const float bias = p.delta_bias == nullptr ? 0.f : p.delta_bias[channel];
  const float offset = p.out_offset == nullptr ? 0.f : p.out_offset[channel];
  const scalar_t* const B = p.B.data + row_offset(p.B, row, span);
  const scalar_t* const C = p.C.data + row_offset(p.C, row, span);
  const scalar_t* const u_row = p.u.data + row_offset(p.u, row, span) + channel;
  const scalar_t* const delta_row = p.delta.data + row_offset(p.delta, row, span) + channel;

  for (int64_t first = 0; first < span.stored; first += 32) {
    const int64_t t_lane = first + lane;
    float u = 0.f, delta = 0.f, y_lane = 0.f;
    if (t_lane < length) {
      u = to_float(u_row[t_lane * p.u.time_stride]);
      const float raw = to_float(delta_row[t_lane * p.delta.time_stride]);
      delta = softplus_delta<scalar_t>(raw, bias, p.delta_softplus);
    }
    const int steps = static_cast<int>(min(int64_t{32}, length - first));
    for (int q = 0; q < steps; ++q) {
      const int64_t t = first + q;
      const float delta_q = __shfl_sync(0xffffffffu, delta, q);
      const float delta_u = delta_q * kDeltaUnit<scalar_t> * __shfl_sync(0xffffffffu, u, q);
      if (kept != nullptr && (static_cast<int>(t) & last_of_every) == 0) {
#pragma unroll
        for (int i = 0; i < kLaneStates; ++i) {
          if (lane + 32 * i < d_state) kept[lane + 32 * i] = h[i];
        }
        kept += p.d_inner * d_state;
      }
      float sum = 0.f;
#pragma unroll
      for (int i = 0; i < kLaneStates; ++i) {
        const int n = lane + 32 * i;
        if (32 * i < d_state && n < d_state) {
          const float B_t = terms[i].scaled_B(to_float(B[t * p.B.time_stride + n]));
          h[i] = fmaf(decay<scalar_t>(delta_q * A[i]), h[i], delta_u * B_t);
          sum = fmaf(terms[i].scaled_C(to_float(C[t * p.C.time_stride + n])), h[i] + terms[i].offset, sum);
        }
      }
      sum = warp_sum(sum);
      if (lane == q) y_lane = sum;
    }
    if (t_lane < span.stored) {
      float out = 0.f;
      if (t_lane < length) {
        out = fmaf(D, u, y_lane) + offset;
        if (p.y != nullptr) p.y[(span.first + t_lane) * p.d_inner + channel] = from_float<scalar_t>(out);
        if (p.z.data != nullptr) {
          const float z = to_float(p.z.data[row_offset(p.z, row, span) + t_lane * p.z.time_stride + channel]);
          out *= silu<scalar_t>(z).value;
        }
      }
      p.out[(span.first + t_lane) * p.d_inner + channel] = from_float<scalar_t>(out);
    }
  }
  if (p.last_state == nullptr) return;
#pragma unroll
  for (int i = 0; i < kLaneStates; ++i) {
    const int n = lane + 32 * i;
    if (n < d_state) p.last_state[(row * p.d_inner + channel) * d_state + n] = h[i];
  }
}

}  // namespace mpeft::kernels
