#pragma once

// Selective scan, backward, first pass over pieces of time: what each piece hands to the piece before it.
//
// Equation: with v_t = a_t g_t (a_t = exp(delta_t A), g_t = dL/dh_t), v_t = a_t (C_t dy_t + v_{t+1}). Entered with 0, a
// piece leaves
//   `carry`; entered with v, it leaves carry + exp(A sum delta) v. Two numbers a state, and no state h is needed.
// Mapping: BwdShape, one block a (row, channel block, piece behind the first chunk), of rows from the first with a cut
//   pair on.
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/bwd_places.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: kCarryBlocks, carry_into_chunk, selective_scan_bwd_carry_kernel

namespace mpeft::kernels {

/// Blocks of the first pass for which a multiprocessor's registers are made to last.
template <typename Shape>
inline constexpr int kCarryBlocks = (Shape::kDState == 8 ? 384 : 512) / Shape::kThreads;

template <typename scalar_t, typename Shape>
struct CarryShared {
  using tile_t = scalar_t[Shape::kTile][Shape::kPitch];
  tile_t delta[2], z[2], dout[2];  // two stages: one being used, one being fetched
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  float step[Shape::kTile][Shape::kPairPitch];  // delta in units of kDeltaUnit, dy: store_pairs
  float BC[2][Shape::kTile][2 * Shape::kDState];
};

template <typename scalar_t, typename Shape, bool kWithTerms>
__global__ void __launch_bounds__(Shape::kThreads, kCarryBlocks<Shape>)
    selective_scan_bwd_carry_kernel(const SelectiveScanBwdParams<scalar_t> p, const BwdPlan plan, float* workspace,
                                    const bool state_vectors) {
  constexpr int kTile = Shape::kTile, kChannels = Shape::kChannels, kThreads = Shape::kThreads,
                kDState = Shape::kDState, kLane = Shape::kLaneChannels;
  __shared__ __align__(16) CarryShared<scalar_t, Shape> s;
  ScanBlock block = locate_block<kChannels>(p);
  block.row += plan.cut.first;
  const int64_t row = block.row;
  const uint32_t piece = plan.of_long.count + blockIdx.z;
  const RowSpan span = row_span(p, row);
  if (plan.is_whole(row * gridDim.x + blockIdx.x, span.length)) return;
  const auto length = static_cast<uint32_t>(span.length);
  const BwdSteps steps_of_piece = plan.steps_of(piece);
  const int first = static_cast<int>(min(length, steps_of_piece.first));
  const int end = static_cast<int>(min(length, steps_of_piece.end));
  const BwdLane<Shape> lane(threadIdx.x);
  const bool exists = lane.channel < block.channels;
  const int64_t channel = block.first_channel + lane.channel, state_start = channel * kDState + lane.group * 4;

  let_successor_start();
  const TileCopy<kTile, kChannels, kThreads, scalar_t> copy(threadIdx.x);
  const TileCopy<kTile, 2 * kDState, kThreads, scalar_t> state_copy(threadIdx.x);
  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  const bool gated = p.z.data != nullptr;
  const int64_t first_channel = block.first_channel + copy.c;
  const scalar_t *const delta_place = place_of(p.delta, row, span, copy.t, first_channel),
                        *const dout_place = place_of(p.dout, row, span, copy.t, first_channel),
                        *const z_place = place_of(p.z, row, span, copy.t, first_channel),
                        *const state_place = place_of_states<kDState>(states, state_copy.t, state_copy.c);
  auto fetch_BC = [&](int step, int stage) {
    const int steps = min(kTile, end - step);
    if (!states.vectors) {
      fetch_states<kTile, kDState, kThreads>(s.states[stage], states, step, steps);
    } else if (state_copy.takes_part()) {
      fetch_own_states<kTile, kDState>(state_copy, s.states[stage], state_place, states, step, steps);
    }
  };
  auto fetch = [&](int step, int stage) {
    if (!copy.takes_part()) return;
    auto channels = [&](scalar_t(&tile)[kTile][Shape::kPitch], const scalar_t* place, int64_t time_stride) {
      fetch_own(copy, tile, at_step(place, step, time_stride), time_stride, min(kTile, end - step), block.channels);
    };
    channels(s.delta[stage], delta_place, p.delta.time_stride);
    channels(s.dout[stage], dout_place, p.dout.time_stride);
    if (gated) channels(s.z[stage], z_place, p.z.time_stride);
  };
  const int last_tile = first + (end - first - 1) / kTile * kTile;
  if (first < end) {
    fetch_BC(last_tile, 0);
    fetch(last_tile, 0);
    if (last_tile > first) fetch_BC(last_tile - kTile, 1);  // B and C are always a tile ahead of the rest
    copy_async_commit();
  }

  float A[kLane][4], v[kLane][4] = {}, delta_sum[kLane] = {};
  StateTerms terms[kWithTerms ? kLane : 1][4];
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) A[c][i] = 0.f;
    if (!exists) continue;
    load_floats(A[c], p.A + state_start + c * kDState);
    if constexpr (kWithTerms) {
#pragma unroll
      for (int i = 0; i < 4; ++i) terms[c][i] = state_terms(p, state_start + c * kDState + i);
    }
  }
  constexpr int kVector = BwdPreparation<Shape>::kVector;
  const BwdPreparation<Shape> own(threadIdx.x);
  float bias[kVector];
  load_softplus_bias<scalar_t>(bias, p.delta_bias, block.first_channel, own.c, block.channels);
  int stage = 0;
  if (first < end) {
    copy_async_wait();
    __syncthreads();
    widen_states<kTile, kDState, kThreads>(s.BC[0], s.states[0], 1.f);
  }
  for (int step = last_tile; step >= first && first < end; step -= kTile, stage ^= 1) {
    const int steps = min(kTile, end - step);
    copy_async_wait();
    __syncthreads();  // fetched, and the last tile is used up
    if (step > first) {
      fetch(step - kTile, stage ^ 1);
      if (step - kTile > first) fetch_BC(step - 2 * kTile, stage);
      copy_async_commit();
      widen_states<kTile, kDState, kThreads>(s.BC[stage ^ 1], s.states[stage ^ 1], 1.f);
    }
    {
      float delta[kVector], dy[kVector], step_sizes[kVector];
      load_floats(delta, &s.delta[stage][own.t][own.c]);
      load_floats(dy, &s.dout[stage][own.t][own.c]);
      softplus_delta_polynomial<scalar_t>(step_sizes, delta, bias, p.delta_softplus);
      if (steps < kTile) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) step_sizes[i] = own.t < steps ? step_sizes[i] : 0.f;
      }
      if (gated) {
        float z[kVector];
        load_floats(z, &s.z[stage][own.t][own.c]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) dy[i] *= silu<scalar_t>(z[i]).value;
      }
      store_pairs<Shape>(s.step[own.t], own.c, step_sizes, dy);
    }
    __syncwarp();
#pragma unroll
    for (int t = kTile - 1; t >= 0; --t) {
      float x[2 * kLane], C[4];
      load_floats(x, &s.step[t][2 * lane.channel]);
      load_floats(C, &s.BC[stage][t][kDState + lane.group * 4]);
#pragma unroll
      for (int c = 0; c < kLane; ++c) {
        delta_sum[c] += x[c];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float C_t = C[i];
          if constexpr (kWithTerms) C_t = terms[c][i].scaled_C(C_t);
          const float exponent = x[c] * A[c][i];
          // the special function unit is the limit here: a quarter of bfloat16's exponentials goes elsewhere, or, where
          // a lane has two channels, three of sixteen
          const bool polynomial = std::is_same_v<scalar_t, __nv_bfloat16> && i == 3 && (c == kLane - 1 || t % 2 == 0);
          const float a = polynomial ? exp2_polynomial(exponent) : decay<scalar_t>(exponent);
          v[c][i] = a * fmaf(x[kLane + c], C_t, v[c][i]);
        }
      }
    }
  }
  if (!exists) return;
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
    const int64_t at = plan.carry_row(piece, static_cast<uint32_t>(row)) * p.d_inner + channel + c;
    store_floats(workspace + plan.carry + at * kDState + lane.group * 4, v[c]);
    if (lane.group == 0) workspace[plan.delta_sum + at] = delta_sum[c];
  }
}

/// v where `next_piece` starts: the gradient of the last state, carried through the pieces from that one on. channel:
/// the first of kLane neighbours.
template <typename scalar_t, int kLane>
__device__ __forceinline__ void carry_into_chunk(float (&v)[kLane][4], const float (&A)[kLane][4],
                                                 const SelectiveScanBwdParams<scalar_t>& p, const BwdPlan& plan,
                                                 const float* workspace, int next_piece, int64_t row, int64_t channel,
                                                 int group) {
  if (p.dlast_state != nullptr) {
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      load_floats(v[c], p.dlast_state + (row * p.d_inner + channel + c) * p.d_state + group * 4);
    }
  }
  // pieces whose loads wait together: a chunk begins by waiting for them
  constexpr int kTogether = kHasSpareRegisters ? 8 : 4;
  for (int after = static_cast<int>(plan.pieces()); after > next_piece; after -= kTogether) {
    float carry[kTogether][kLane][4] = {}, delta_sum[kTogether][kLane] = {};  // no piece: v stays as it is
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
      const int piece = after - 1 - k;
      if (piece < next_piece) continue;
#pragma unroll
      for (int c = 0; c < kLane; ++c) {
        const int64_t at =
            plan.carry_row(static_cast<uint32_t>(piece), static_cast<uint32_t>(row)) * p.d_inner + channel + c;
        load_floats(carry[k][c], workspace + plan.carry + at * p.d_state + group * 4);
        delta_sum[k][c] = workspace[plan.delta_sum + at];
      }
    }
#pragma unroll
    for (int k = 0; k < kTogether; ++k) {
#pragma unroll
      for (int c = 0; c < kLane; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) v[c][i] = fmaf(decay<scalar_t>(delta_sum[k][c] * A[c][i]), v[c][i], carry[k][c][i]);
      }
    }
  }
}

}  // namespace mpeft::kernels
