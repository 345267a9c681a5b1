#pragma once

// Selective scan, forward.
//
// Equation and layouts: selective_scan_params.h.
// Mapping: a channel's states lie over kLanes neighbouring lanes, kStates each; a lane serves kLaneChannels
// neighbouring channels.
//   A block owns a row's kChannels channels and walks their time in tiles of kSteps:
//     fetch (asynchronous, one tile ahead) -> softplus and products to shared memory -> recurrence -> gate and store.
//   The sum C_t . h_t over a channel's lanes is a reduce-scatter by shuffles over kLanes steps, after which lane s
//   holds step s.
// Accumulation: float. delta is kept in units of ln 2 (exp becomes exp2); B carries the ln 2 that its product needs.
// Limits: d_inner a multiple of 16 bytes' elements, 16-byte aligned u, delta, z, out; B and C any alignment.
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

namespace mpeft::kernels {

/// kPolynomials of 8 exponentials run on the multiply-add pipe; kBlocks blocks a multiprocessor bound the registers.
template <int kLanes_, int kStates_, int kLaneChannels_, int kWarps_, int kSteps_, int kPolynomials_, int kBlocks_>
struct FwdShape {
  static constexpr int kLanes = kLanes_, kStates = kStates_, kLaneChannels = kLaneChannels_, kWarps = kWarps_,
                       kSteps = kSteps_, kPolynomials = kPolynomials_, kBlocks = kBlocks_;
  static constexpr int kThreads = kWarps * 32, kDState = kLanes * kStates;
  static constexpr int kWarpChannels = 32 / kLanes * kLaneChannels, kChannels = kWarps * kWarpChannels;
  static constexpr int kGroup = kLanes > 8 ? kLanes : 8;  // steps of one pass of the unrolled loop
  static_assert(kSteps % kGroup == 0 && kThreads % (kChannels / 2) == 0 && kStates % 2 == 0);
};

namespace detail {

/// values[k], k < kLanes, hold this lane's part of step k; afterwards values[0] is the sum over lanes of step `lane`.
template <int kLanes>
__device__ __forceinline__ void reduce_scatter(float (&values)[kLanes], int lane) {
#pragma unroll
  for (int width = kLanes / 2; width > 0; width /= 2) {
    const bool upper = lane & width;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float send = upper ? values[k] : values[k + width], keep = upper ? values[k + width] : values[k];
      values[k] = keep + __shfl_xor_sync(0xffffffffu, send, width);
    }
  }
}

}  // namespace detail

template <typename scalar_t, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    selective_scan_fwd_kernel(const SelectiveScanFwdParams<scalar_t> p, const bool state_vectors) {
  constexpr int kLanes = Shape::kLanes, kStates = Shape::kStates, kLaneChannels = Shape::kLaneChannels,
                kSteps = Shape::kSteps, kChannels = Shape::kChannels, kThreads = Shape::kThreads,
                kDState = Shape::kDState, kGroup = Shape::kGroup;
  constexpr int kPitch = kChannels + 8;
  constexpr int kEvery = static_cast<int>(kSelectiveScanCheckpointEvery);
  __shared__ __align__(16) scalar_t u_tile[2][kSteps][kPitch], delta_tile[2][kSteps][kPitch], z_tile[2][kSteps][kPitch];
  __shared__ __align__(16) scalar_t state_tile[2][kSteps][2 * kDState];
  __shared__ __align__(16) float2 drive[kSteps][kChannels];  // (delta, delta u), delta in units of ln 2
  __shared__ __align__(16) float BC[kSteps][2 * kDState];
  __shared__ __align__(16) float y_tile[kSteps][kChannels + 4];

  const ScanBlock block = locate_block<kChannels>(p);
  const int64_t row = block.row, first_channel = block.first_channel;
  const RowSpan span = row_span(p, row);
  const int length = static_cast<int>(span.length);
  const int tid = threadIdx.x, lane = tid % kLanes;
  const int channel = tid / 32 * Shape::kWarpChannels + tid % 32 / kLanes * kLaneChannels;  // of the block

  float A[kLaneChannels][kStates], h[kLaneChannels][kStates];
  const int64_t state_start = (first_channel + channel) * kDState + lane * kStates;
#pragma unroll
  for (int c = 0; c < kLaneChannels; ++c) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      const bool exists = channel + c < block.channels;
      const int64_t at = state_start + c * kDState + i;
      A[c][i] = exists ? p.A[at] : 0.f;
      h[c][i] = exists && p.initial_state != nullptr ? p.initial_state[row * p.initial_state_batch_stride + at] : 0.f;
    }
  }

  const TileCopy<kSteps, kChannels, kThreads, scalar_t> copy(tid);
  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  const bool gated = p.z.data != nullptr;
  const scalar_t* u_source = p.u.data + row_offset(p.u, row, span) + first_channel;
  const scalar_t* delta_source = p.delta.data + row_offset(p.delta, row, span) + first_channel;
  const scalar_t* z_source = gated ? p.z.data + row_offset(p.z, row, span) + first_channel : nullptr;
  const int u_stride = static_cast<int>(p.u.time_stride), delta_stride = static_cast<int>(p.delta.time_stride),
            z_stride = static_cast<int>(p.z.time_stride);
  auto fetch = [&](int step, int stage) {  // called with step 0, kSteps, ...
    const int steps = min(kSteps, length - step);
    if (copy.takes_part()) {
      fetch_channels(copy, u_tile[stage], u_source, u_stride, steps, block.channels);
      fetch_channels(copy, delta_tile[stage], delta_source, delta_stride, steps, block.channels);
      if (gated) fetch_channels(copy, z_tile[stage], z_source, z_stride, steps, block.channels);
    }
    u_source += kSteps * u_stride;
    delta_source += kSteps * delta_stride;
    z_source += kSteps * z_stride;
    fetch_states<kSteps, kDState, kThreads>(state_tile[stage], states, step, steps);
    copy_async_commit();
  };

  // before the recurrence a thread turns pairs of channels into drive, after it quads into out
  constexpr int kPairs = kChannels / 2, kQuads = kChannels / 4;
  const int pair = tid % kPairs * 2, quad = tid % kQuads * 4;
  float bias[2], D[4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const bool exists = p.delta_bias != nullptr && pair + i < block.channels;
    bias[i] = exists ? p.delta_bias[first_channel + pair + i] : 0.f;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    D[i] = p.D != nullptr && quad + i < block.channels ? p.D[first_channel + quad + i] : 0.f;
  }
  const int64_t checkpoint_size = p.d_inner * kDState;
  float* kept = p.checkpoints == nullptr
                    ? nullptr
                    : p.checkpoints + first_row_part(p, row, span, kEvery) * checkpoint_size + state_start;
  scalar_t* const out = p.out + span.first * p.d_inner + first_channel + quad;
  scalar_t* out_tile = out + tid / kQuads * p.d_inner;  // this thread's first step of the tile

  if (length > 0) fetch(0, 0);
  int stage = 0;
  for (int step = 0; step < length; step += kSteps, stage ^= 1) {
    const int steps = min(kSteps, length - step);
    copy_async_wait();
    __syncthreads();
    if (step + kSteps < length) fetch(step + kSteps, stage ^ 1);

#pragma unroll
    for (int k = 0; k < (kSteps * kPairs + kThreads - 1) / kThreads; ++k) {
      const int t = tid / kPairs + k * (kThreads / kPairs);
      if (kSteps * kPairs % kThreads == 0 || t < kSteps) {
        float u[2], delta[2];
        load_floats(u, &u_tile[stage][t][pair]);
        load_floats(delta, &delta_tile[stage][t][pair]);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          delta[i] = softplus_log2<scalar_t>(delta[i], bias[i], p.delta_softplus).value;
          if (t >= steps) delta[i] = 0.f;  // the state stays as it is
        }
        *reinterpret_cast<float4*>(&drive[t][pair]) = make_float4(delta[0], delta[0] * u[0], delta[1], delta[1] * u[1]);
      }
    }
    widen_states<kSteps, kDState, kThreads>(BC, state_tile[stage], kLn2);
    __syncthreads();

#pragma unroll 1
    for (int group = 0; group < steps; group += kGroup) {
      float y[kLaneChannels][kLanes];
#pragma unroll
      for (int q = 0; q < kGroup; ++q) {
        const int t = group + q;
        if (q % kEvery == 0 && kept != nullptr && (q == 0 || t < steps)) {
#pragma unroll
          for (int c = 0; c < kLaneChannels; ++c) {
            if (channel + c < block.channels) store_floats(kept + c * kDState, h[c]);
          }
          kept += checkpoint_size;
        }
        float x[2 * kLaneChannels], B[kStates], C[kStates];
        load_floats(x, &drive[t][channel].x);
        load_floats(B, &BC[t][lane * kStates]);
        load_floats(C, &BC[t][kDState + lane * kStates]);
#pragma unroll
        for (int c = 0; c < kLaneChannels; ++c) {
          float sum = 0.f;
#pragma unroll
          for (int i = 0; i < kStates; ++i) {
            const float exponent = x[2 * c] * A[c][i];
            const bool polynomial =
                ((q * kLaneChannels + c) * kStates + i) * Shape::kPolynomials % 8 < Shape::kPolynomials;
            const float decay = polynomial ? exp2_polynomial(exponent) : exp2_approx(exponent);
            h[c][i] = fmaf(decay, h[c][i], x[2 * c + 1] * B[i]);
            sum = i == 0 ? C[i] * h[c][i] : fmaf(C[i], h[c][i], sum);
          }
          y[c][q % kLanes] = sum;
        }
        if (q % kLanes == kLanes - 1) {
#pragma unroll
          for (int c = 0; c < kLaneChannels; ++c) {
            detail::reduce_scatter<kLanes>(y[c], lane);
          }
          float* at = &y_tile[t - (kLanes - 1) + lane][channel];
          if constexpr (kLaneChannels == 2) {
            *reinterpret_cast<float2*>(at) = make_float2(y[0][0], y[1][0]);
          } else {
            *at = y[0][0];
          }
        }
      }
    }
    __syncthreads();

    const int stored_steps = static_cast<int>(min(int64_t{kSteps}, span.stored - step));
#pragma unroll
    for (int k = 0; k < (kSteps * kQuads + kThreads - 1) / kThreads; ++k) {
      const int t = tid / kQuads + k * (kThreads / kQuads);
      if ((kSteps * kQuads % kThreads == 0 || t < kSteps) && t < stored_steps && quad < block.channels) {
        float y[4], u[4], z[4];
        load_floats(y, &y_tile[t][quad]);
        load_floats(u, &u_tile[stage][t][quad]);
        load_floats(z, &z_tile[stage][t][quad]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          y[i] = fmaf(D[i], u[i], y[i]);
          const float gate = z[i] * sigmoid<scalar_t>(z[i]);
          if (gated) y[i] *= gate;
        }
        if (t >= steps) {  // padding
#pragma unroll
          for (int i = 0; i < 4; ++i) y[i] = 0.f;
        }
        store_floats(out_tile + k * (kThreads / kQuads) * p.d_inner, y);
      }
    }
    out_tile += kSteps * p.d_inner;
  }

  // tiles that are all padding
  const float zeros[4] = {};
  for (int64_t t = (length + kSteps - 1) / kSteps * kSteps + tid / kQuads; t < span.stored; t += kThreads / kQuads) {
    if (quad < block.channels) store_floats(out + t * p.d_inner, zeros);
  }
  if (p.last_state != nullptr) {
#pragma unroll
    for (int c = 0; c < kLaneChannels; ++c) {
      if (channel + c < block.channels) {
        store_floats(p.last_state + row * p.d_inner * kDState + state_start + c * kDState, h[c]);
      }
    }
  }
}

}  // namespace mpeft::kernels
