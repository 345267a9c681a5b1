#pragma once

// Selective scan, backward by roles where the forward kept compact states (bwd_expand.cuh): recomputes y too, where
// there is a gate, because the roles make none. bfloat16, 16 states, no terms.
//
// Equation: h_t of all steps as in bwd_expand.cuh, and y_t = C_t . h_t + D u_t.
// Mapping: a block walks one stretch, from a kept state to the next, or three, of 64 channels in tiles of 16 steps; all
//   blocks run in parallel. A warp has 16 channels, walked as in the forward by roles (fwd_walk.cuh), where C . h is a
//   matrix product; what its lanes take of a step it prepares itself.
// Accumulation: h in float; y as in the forward, and rounded once, as a forward that keeps it does.
// Limits: those of bwd_roles.cuh, which alone reads what this leaves.
#include "kernels/common/move_registers.cuh"
#include "kernels/selective_scan/bwd_expand.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"

// defines: launch_bwd_expand_with_y

namespace mpeft::kernels {
namespace detail {

/// Five blocks a multiprocessor: four are as fast, six spill.
using ExpandYShape = BwdShape<16, 4, 5, 2>;

template <typename Shape>
struct ExpandYShared {
  using scalar_t = __nv_bfloat16;
  using tile_t = scalar_t[Shape::kTile][Shape::kPitch];
  tile_t delta[2], u[2];  // two stages: one being used, one being fetched
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  float step[Shape::kTile][Shape::kPairPitch];  // delta in units of kDeltaUnit, delta u: store_pairs
  // here, because registers are short; a lane's own: the next kept state
  float4 kept[Shape::kLaneChannels][Shape::kThreads];
  alignas(16) float bias[Shape::kChannels], D[Shape::kChannels];
};

template <typename Shape>
__device__ __forceinline__ void expand_with_y(const SelectiveScanBwdParams<__nv_bfloat16>& p, float* expanded,
                                              __nv_bfloat16* y, int block_steps, bool state_vectors) {
  using scalar_t = __nv_bfloat16;
  constexpr int kTile = Shape::kTile, kChannels = Shape::kChannels, kThreads = Shape::kThreads,
                kDState = Shape::kDState, kLane = Shape::kLaneChannels, kWarpChannels = Shape::kWarpChannels;
  constexpr int kFine = static_cast<int>(kSelectiveScanCheckpointEvery),
                kCoarse = static_cast<int>(kSelectiveScanCompactEvery);
  static_assert(kCoarse % kTile == 0 && kTile % kFine == 0 && kFine == 8);
  using Lane = fwd_walk::LaneShare<kWarpChannels>;
  __shared__ __align__(16) ExpandYShared<Shape> s;
  const ScanBlock block = locate_block<kChannels>(p);
  const int64_t row = block.row;
  const RowSpan span = row_span(p, row);
  const int first = static_cast<int>(blockIdx.z) * block_steps;
  const int end = static_cast<int>(min(span.length, int64_t{first} + block_steps));
  if (first >= end) return;
  let_successor_start();
  const Lane lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = static_cast<int>(threadIdx.x) / 32 * kWarpChannels + lane.channel;
  const bool exists = channel < block.channels;  // both channels of a lane, or none: d_inner is even
  const int64_t row_states = p.d_inner * kDState, state_start = (block.first_channel + channel) * kDState + lane.state;

  const TileCopy<kTile, kChannels, kThreads, scalar_t> copy(threadIdx.x);
  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  static_assert(decltype(copy)::kItems >= kThreads, "every thread takes part");
  const float* kept =
      p.checkpoints + (first_row_part(p, row, span, kCoarse) + first / kCoarse) * row_states + state_start;
  auto fetch = [&](int step, int stage) {
    const int steps = min(kTile, end - step);
    fetch_sequence(copy, s.delta[stage], p.delta, row, span, step, steps, block);
    fetch_sequence(copy, s.u[stage], p.u, row, span, step, steps, block);
  };
  auto fetch_kept = [&] {
#pragma unroll
    for (int c = 0; c < kLane; ++c) copy_async(&s.kept[c][threadIdx.x], kept + c * kDState, exists);
    kept += row_states;
  };
  auto fetch_BC = [&](int step, int stage) {
    fetch_states<kTile, kDState, kThreads>(s.states[stage], states, step, min(kTile, end - step));
    copy_async_commit();
  };
  fetch(first, 0);
  fetch_kept();
  fetch_BC(first, 0);

  float* to = expanded + (first_row_part(p, row, span, kFine) + first / kFine) * row_states + state_start;
  scalar_t* y_to = y + (span.first + first + fwd_walk::StepOutputs<kWarpChannels>::first_step(lane)) * p.d_inner +
                   block.first_channel + channel;
  float A[kLane][4] = {}, h[kLane][4] = {};
  if (exists) {
#pragma unroll
    for (int c = 0; c < kLane; ++c) load_floats(A[c], p.A + state_start + c * kDState);
  }
  if (threadIdx.x < kChannels) {
    const int own = static_cast<int>(threadIdx.x);
    float bias[1];
    load_softplus_bias<scalar_t>(bias, p.delta_bias, block.first_channel, own, block.channels);
    s.bias[own] = bias[0];
    s.D[own] = p.D != nullptr && own < block.channels ? p.D[block.first_channel + own] : 0.f;
  }
  const BwdPreparation<Shape> own(threadIdx.x);
#pragma unroll 1
  for (int step = first, stage = 0; step < end; step += kTile, stage ^= 1) {
    copy_async_wait();
    __syncthreads();  // fetched, and the last tile is used up
    if (step % kCoarse == 0) {
#pragma unroll
      for (int c = 0; c < kLane; ++c) load_floats(h[c], &s.kept[c][threadIdx.x].x);
    }
    if (step + kTile < end) {
      fetch(step + kTile, stage ^ 1);
      if ((step + kTile) % kCoarse == 0) fetch_kept();
      fetch_BC(step + kTile, stage ^ 1);
    }
#pragma unroll 1
    for (int part = 0; part < BwdPreparation<Shape>::kVector; part += 4) {
      const int c = own.c + part;
      float delta[4], u[4], bias[4], step_sizes[4];
      load_floats(bias, &s.bias[c]);
      load_floats(delta, &s.delta[stage][own.t][c]);
      load_floats(u, &s.u[stage][own.t][c]);
      softplus_delta_polynomial<scalar_t>(step_sizes, delta, bias, p.delta_softplus);
#pragma unroll
      for (int i = 0; i < 4; ++i) u[i] *= step_sizes[i] * kDeltaUnit<scalar_t>;
      store_pairs<Shape>(s.step[own.t], c, step_sizes, u);
    }
    __syncwarp();
#pragma unroll 1
    for (int group = 0; group < kTile; group += kFine) {
      if (exists && step + group < end) {
#pragma unroll
        for (int c = 0; c < kLane; ++c) store_floats(to + c * kDState, h[c]);
      }
      to += row_states;
      float C[2][4];
      load_floats(C[0], &s.states[stage][group + lane.g][kDState + lane.state]);
      fwd_walk::StepOutputs<kWarpChannels> outputs;
#pragma unroll
      for (int t = 0; t < kFine; ++t) {
        float x[2 * kLane], B[4];
        load_floats(x, &s.step[group + t][2 * channel]);
        load_floats(B, &s.states[stage][group + t][lane.state]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int c = 0; c < kLane; ++c) {
            h[c][i] = fmaf(decay<scalar_t>(x[c] * A[c][i]), h[c][i], x[kLane + c] * B[i]);
          }
        }
        outputs.add(t, h, C, lane);
      }
      const int own_step = group + fwd_walk::StepOutputs<kWarpChannels>::first_step(lane);
      float D[2];
      load_floats(D, &s.D[channel]);
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float u[2];
        load_floats(u, &s.u[stage][own_step + j][channel]);
#pragma unroll
        for (int c = 0; c < kLane; ++c) u[c] = fmaf(D[c], u[c], fwd_walk::kUncut * outputs.y[j][c]);
        if (exists && step + own_step + j < end) store_floats(y_to + j * static_cast<int>(p.d_inner), u);
      }
      y_to += kFine * p.d_inner;
    }
  }
}

/// Without kMovesRegisters empty, as the main pass by roles is.
template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    selective_scan_bwd_expand_y_kernel(const SelectiveScanBwdParams<__nv_bfloat16> p, float* expanded, __nv_bfloat16* y,
                                       const int block_steps, const bool state_vectors) {
  if constexpr (kMovesRegisters) expand_with_y<Shape>(p, expanded, y, block_steps, state_vectors);
}

}  // namespace detail

/// expanded: floats as by launch_bwd_expand; y: (tokens, d_inner), of the steps that rows have. Shape: a template so
/// that only bfloat16's file compiles the kernel.
template <typename Shape = detail::ExpandYShape>
cudaError_t launch_bwd_expand_with_y(const SelectiveScanBwdParams<__nv_bfloat16>& p, float* expanded, __nv_bfloat16* y,
                                     bool state_vectors, cudaStream_t stream) {
  const detail::Stretches stretches = detail::stretches_of<Shape::kChannels>(p, Shape::kBlocks);
  if (stretches.pieces == 0) return cudaSuccess;
  detail::selective_scan_bwd_expand_y_kernel<Shape>
      <<<scan_grid(p.batch, p.d_inner, Shape::kChannels, static_cast<int>(stretches.pieces)), Shape::kThreads, 0,
         stream>>>(p, expanded, y, static_cast<int>(stretches.of_block * kSelectiveScanCompactEvery), state_vectors);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
