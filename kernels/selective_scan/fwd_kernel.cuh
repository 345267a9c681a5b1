#pragma once

// Selective scan, forward.
//
// Equation and layouts: selective_scan_params.h.
// Mapping: a channel's states lie over kLanes neighbouring lanes, kStates each; a lane serves kLaneChannels
// neighbouring channels.
//   A block owns a row's kChannels channels and walks their time in tiles of kSteps:
//     fetch (asynchronous, one tile ahead) -> softplus and products to shared memory -> recurrence -> gate and store.
//   The sum C'_t . h'_t over a channel's lanes: for bfloat16 a matrix product with a 0/1 matrix, whose result leaves a
//   lane 4 sums (fwd_sums.cuh), else a reduce-scatter by shuffles over kLanes steps.
// Accumulation: float; with the matrix product a lane's partial sum has 11 significant bits. delta is kept in units of
// kDeltaUnit; B' carries the factor that its product needs.
// Limits: d_inner a multiple of 16 bytes' elements, 16-byte aligned u, delta, z, out; B and C any alignment.
#include "kernels/selective_scan/fwd_sums.cuh"
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: FwdShape, selective_scan_fwd_kernel

namespace mpeft::kernels {

/// kPolynomials of 8 exponentials run on the multiply-add pipe; kBlocks blocks a multiprocessor bound the registers;
/// kUnroll groups of steps make up a loop body.
template <int kLanes_, int kStates_, int kLaneChannels_, int kWarps_, int kSteps_, int kPolynomials_, int kBlocks_,
          bool kMatrixSum_ = false, int kUnroll_ = 1>
struct FwdShape {
  static constexpr int kLanes = kLanes_, kStates = kStates_, kLaneChannels = kLaneChannels_, kWarps = kWarps_,
                       kSteps = kSteps_, kPolynomials = kPolynomials_, kBlocks = kBlocks_, kUnroll = kUnroll_;
  static constexpr bool kMatrixSum = kMatrixSum_;
  static constexpr int kThreads = kWarps * 32, kDState = kLanes * kStates;
  static constexpr int kWarpChannels = 32 / kLanes * kLaneChannels, kChannels = kWarps * kWarpChannels;
  /// Steps of one pass of the unrolled loop: as many as one matrix product, or one reduce-scatter, sums.
  static constexpr int kGroup = kMatrixSum ? 16 / kLaneChannels : (kLanes > 8 ? kLanes : 8);
  static_assert(kSteps % kGroup == 0 && (kStates % 2 == 0 || kStates == 1) &&
                (!kMatrixSum || kLanes == 4 || kLanes == 8));
};

/// Neighbouring channels that a thread turns from inputs into drive, and from y into out.
template <typename scalar_t, typename Shape>
inline constexpr int kFwdVector =
    sizeof(scalar_t) < 4 && Shape::kSteps* Shape::kChannels / Shape::kThreads % 8 == 0 && Shape::kChannels >= 32 ? 8
                                                                                                                 : 4;

/// Where the pair of channels from `pair` lies in step t's row of drive: threads that write together, kVector channels
/// each, meet different banks.
template <int kVector, int kChannels>
__device__ __forceinline__ int drive_place(int pair, int t) {
  const int index = pair / 2;
  const int turn = kVector == 8      ? (kChannels == 32 ? ((index >> 3) & 1) | (t & 1) << 1 : (index >> 3) & 3)
                   : kChannels <= 16 ? t & 1
                                     : (index >> 3) & 1;
  return (index ^ turn) * 2;
}

template <typename scalar_t, typename Shape, bool kWithTerms>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    selective_scan_fwd_kernel(const SelectiveScanFwdParams<scalar_t> p, const bool state_vectors) {
  constexpr int kLanes = Shape::kLanes, kStates = Shape::kStates, kLaneChannels = Shape::kLaneChannels,
                kSteps = Shape::kSteps, kChannels = Shape::kChannels, kThreads = Shape::kThreads,
                kDState = Shape::kDState, kGroup = Shape::kGroup, kVector = kFwdVector<scalar_t, Shape>;
  constexpr int kPitch = kChannels + 8;
  __shared__ __align__(16) scalar_t u_tile[2][kSteps][kPitch], delta_tile[2][kSteps][kPitch], z_tile[2][kSteps][kPitch];
  __shared__ __align__(16) scalar_t state_tile[2][kSteps][2 * kDState];
  __shared__ __align__(16) float2 drive[kSteps][kChannels];  // (delta, delta u), in units of kDeltaUnit; drive_place
  __shared__ __align__(16) float BC[kSteps][2 * kDState];
  __shared__ __align__(16) float y_tile[kSteps][kChannels + 4];

  const ScanBlock block = locate_block<kChannels>(p);
  const int64_t row = block.row, first_channel = block.first_channel;
  const RowSpan span = row_span(p, row);
  const int length = static_cast<int>(span.length);
  const int tid = threadIdx.x, lane = tid % kLanes;
  const int channel = tid / 32 * Shape::kWarpChannels + tid % 32 / kLanes * kLaneChannels;  // of the block

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
  if (length > 0) fetch(0, 0);

  float A[kLaneChannels][kStates], h[kLaneChannels][kStates] = {};
  StateTerms terms[kWithTerms ? kLaneChannels : 1][kStates];
  const int64_t state_start = (first_channel + channel) * kDState + lane * kStates;
#pragma unroll
  for (int c = 0; c < kLaneChannels; ++c) {
    const bool exists = channel + c < block.channels;
    const int64_t at = state_start + c * kDState;
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      A[c][i] = exists ? p.A[at + i] : 0.f;
      if (exists && p.initial_state != nullptr) h[c][i] = p.initial_state[row * p.initial_state_batch_stride + at + i];
      if constexpr (kWithTerms) {
        if (exists) terms[c][i] = state_terms(p, at + i);
        terms[c][i].B_bias *= kDeltaUnit<scalar_t>;
      }
    }
  }

  // before the recurrence a thread turns kVector channels into drive, after it y of these channels into out
  constexpr int kRow = kChannels / kVector, kItems = kSteps * kRow, kRows = kThreads / kRow;
  static_assert(kThreads % kRow == 0);
  const int vector = tid % kRow * kVector;
  const bool exists = vector < block.channels;
  float bias[kVector] = {}, D[kVector] = {}, offset[kWithTerms ? kVector : 1] = {};
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (exists && p.delta_bias != nullptr) bias[i] = softplus_bias<scalar_t>(p.delta_bias[first_channel + vector + i]);
    if (exists && p.D != nullptr) D[i] = p.D[first_channel + vector + i];
    if constexpr (kWithTerms) {
      if (exists && p.out_offset != nullptr) offset[i] = p.out_offset[first_channel + vector + i];
    }
  }
  const int every = static_cast<int>(p.checkpoint_every);
  const int64_t checkpoint_size = p.d_inner * kDState;
  float* kept = p.checkpoints == nullptr
                    ? nullptr
                    : p.checkpoints + first_checkpoint(p, row, span) * checkpoint_size + state_start;
  const int64_t out_start = (span.first + tid / kRow) * p.d_inner + first_channel + vector;
  scalar_t* out_tile = p.out + out_start;  // this thread's first step of the tile
  scalar_t* y_kept = p.y == nullptr ? nullptr : p.y + out_start;
  const int out_stride = static_cast<int>(kRows * p.d_inner);

  int stage = 0;
  for (int step = 0; step < length; step += kSteps, stage ^= 1) {
    const int steps = min(kSteps, length - step);
    copy_async_wait();
    __syncthreads();
    if (step + kSteps < length) fetch(step + kSteps, stage ^ 1);

#pragma unroll
    for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
      const int t = tid / kRow + k * kRows;
      if (kItems % kThreads == 0 || t < kSteps) {
        float u[kVector], delta[kVector];
        load_floats(u, &u_tile[stage][t][vector]);
        load_floats(delta, &delta_tile[stage][t][vector]);
        float step_sizes[kVector];
        softplus_delta<scalar_t, /*kOneTest=*/false>(step_sizes, nullptr, delta, bias, p.delta_softplus);
#pragma unroll
        for (int i = 0; i < kVector; i += 2) {
          *reinterpret_cast<float4*>(&drive[t][drive_place<kVector, kChannels>(vector + i, t)]) =
              make_float4(step_sizes[i], step_sizes[i] * u[i], step_sizes[i + 1], step_sizes[i + 1] * u[i + 1]);
        }
      }
    }
    if (steps < kSteps) {  // beyond the row's end the state stays as it is
      for (int t = tid / kRow; t < kSteps; t += kRows) {
        for (int i = 0; i < kVector && t >= steps; i += 2) {
          *reinterpret_cast<float4*>(&drive[t][drive_place<kVector, kChannels>(vector + i, t)]) =
              make_float4(0.f, 0.f, 0.f, 0.f);
        }
      }
    }
    widen_states<kSteps, kDState, kThreads>(BC, state_tile[stage], kDeltaUnit<scalar_t>);
    __syncthreads();

#pragma unroll Shape::kUnroll
    for (int group = 0; group < kSteps; group += kGroup) {
      ChannelSums<scalar_t, Shape> sums;
#pragma unroll
      for (int q = 0; q < kGroup; ++q) {
        const int t = group + q;
        // a state is kept every 8 steps, or every larger power of 2
        if (q % 8 == 0 && kept != nullptr && t < steps && ((step + t) & (every - 1)) == 0) {
#pragma unroll
          for (int c = 0; c < kLaneChannels; ++c) {
            if (channel + c < block.channels) store_floats(kept + c * kDState, h[c]);
          }
          kept += checkpoint_size;
        }
        float x[2 * kLaneChannels], B[kStates], C[kStates];
        load_floats(x, &drive[t][drive_place<kVector, kChannels>(channel & ~1, t) + (channel & 1)].x);
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
            const float kept_part = polynomial ? exp2_polynomial(exponent) : decay<scalar_t>(exponent);
            float B_t = B[i], C_t = C[i], read;
            if constexpr (kWithTerms) {
              B_t = terms[c][i].scaled_B(B_t);
              C_t = terms[c][i].scaled_C(C_t);
            }
            h[c][i] = fmaf(kept_part, h[c][i], x[2 * c + 1] * B_t);
            read = h[c][i];
            if constexpr (kWithTerms) read += terms[c][i].offset;
            sum = i == 0 ? C_t * read : fmaf(C_t, read, sum);
          }
          sums.add(q, c, sum);
        }
        sums.finish_step(y_tile, group, q, channel, lane);
      }
    }
    __syncthreads();

    const int stored_steps = static_cast<int>(min(int64_t{kSteps}, span.stored - step));
#pragma unroll
    for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
      const int t = tid / kRow + k * kRows;
      if ((kItems % kThreads == 0 || t < kSteps) && t < stored_steps && exists) {
        float y[kVector], u[kVector];
        load_floats(y, &y_tile[t][vector]);
        load_floats(u, &u_tile[stage][t][vector]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          y[i] = fmaf(D[i], u[i], y[i]);
          if constexpr (kWithTerms) y[i] += offset[i];
        }
        if (y_kept != nullptr) store_floats(y_kept + k * out_stride, y);
        if (gated) {
          float z[kVector];
          load_floats(z, &z_tile[stage][t][vector]);
#pragma unroll
          for (int i = 0; i < kVector; ++i) y[i] *= silu<scalar_t>(z[i]).value;
        }
        if (t >= steps) {  // padding
#pragma unroll
          for (int i = 0; i < kVector; ++i) y[i] = 0.f;
        }
        store_floats(out_tile + k * out_stride, y);
      }
    }
    out_tile += kSteps * p.d_inner;
    if (y_kept != nullptr) y_kept += kSteps * p.d_inner;
  }

  // tiles that are all padding; the backward does not read their y
  const float zeros[kVector] = {};
  for (int64_t t = (length + kSteps - 1) / kSteps * kSteps + tid / kRow; t < span.stored; t += kRows) {
    if (exists) store_floats(p.out + (span.first + t) * p.d_inner + first_channel + vector, zeros);
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
