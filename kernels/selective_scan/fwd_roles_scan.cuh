#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"

// defines: fwd_roles::scan, keep_states
//
// The role that walks the recurrence (fwd_walk.cuh).

namespace mpeft::kernels::fwd_roles {

/// Stores h where the next state is kept, and moves `kept` on.
template <int kDState, int kChannels, int kStates>
__device__ __forceinline__ void keep_states(float*& kept, const float (&h)[kChannels][kStates], int checkpoint_size) {
#pragma unroll
  for (int c = 0; c < kChannels; ++c) store_floats(kept + c * kDState, h[c]);
  kept += checkpoint_size;
}

/// warp: of the role.
template <typename Shape>
__device__ __forceinline__ void scan(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                     int warp) {
  using Lane = fwd_walk::LaneShare<Shape::kWarpChannels>;
  using Outputs = fwd_walk::StepOutputs<Shape::kWarpChannels>;
  constexpr int kSteps = Shape::kSteps, kDState = Shape::kDState, kChannels = Lane::kChannels, kStates = Lane::kStates;
  // Whether what two steps take is loaded before the two steps before them are walked, whether y is stored through a
  // pointer that runs, and whether a state is kept behind the group's first loads. All three change only the order into
  // which the assembler brings the loop (README.md). The first is 2 to 6 % faster with 4 and 8 channels a warp and
  // slower with 16; the second the same, but not where a thread has 64 registers: there the third saves 1 %.
  constexpr bool kLoadsAhead = Shape::kWarpChannels != 16, kRuns = kLoadsAhead && Shape::kThreads < 1024,
                 kKeepsLate = kLoadsAhead && !kRuns;
  const Lane lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = warp * Shape::kWarpChannels + lane.channel;  // of the block
  const bool exists = channel < w.block.channels;                  // of two neighbours both or none
  const int64_t state_start = (w.block.first_channel + channel) * kDState + lane.state;
  float A[kChannels][kStates] = {}, h[kChannels][kStates] = {};
  if (exists) load_first_states<kDState>(A, h, p, w, state_start);
  const int every = static_cast<int>(p.checkpoint_every);
  const int checkpoint_size = static_cast<int>(p.d_inner * kDState);
  const bool keeps = p.checkpoints != nullptr && exists;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  const int place = place_in_drive(channel), last_place = place_in_drive(channel + kChannels - 1);

  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile < w.tiles; ++tile) {
    const int slot = tile % 2, step = tile * kSteps, worked = worked_steps<Shape>(w, tile);
    s.prepared[slot].wait_for(tile / 2);  // which also says that the tile before last is finished: its y is free
    // what this lane takes for two steps, from the group's first on
    const float4 *drive = s.drive[slot][0] + place, *last_drive = s.drive[slot][0] + last_place;
    const float4* B = s.B[slot][0] + lane.state / 2;
    float* y = &s.y[slot][Outputs::first_step(lane)][channel];
#pragma unroll 1
    for (int group = 0; group < worked; group += 8) {
      // a state is kept every 8 steps, or every larger power of 2
      const bool keeps_now = keeps && ((step + group) & (every - 1)) == 0;
      if (!kKeepsLate && keeps_now) keep_states<kDState>(kept, h, checkpoint_size);
      float C[2][kStates];
      fwd_walk::load_columns(C, &s.C[slot][group], lane);
      Outputs outputs;
      fwd_walk::StepPair<kChannels, kStates> pairs[4];
      auto load = [&](int pair) {
        pairs[pair].drive[0] = *drive;
        if constexpr (kChannels == 2) pairs[pair].drive[1] = *last_drive;
#pragma unroll
        for (int i = 0; i < kStates / 2; ++i) pairs[pair].B[i] = B[i];
        drive += Shape::kChannels, last_drive += Shape::kChannels, B += kDState / 2;
      };
      if (kLoadsAhead) load(0);
      if (kKeepsLate && keeps_now) keep_states<kDState>(kept, h, checkpoint_size);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        if (!kLoadsAhead) load(pair);
        if (kLoadsAhead && pair < 3) load(pair + 1);
#pragma unroll
        for (int t = 2 * pair; t < 2 * pair + 2; ++t) {
#pragma unroll
          for (int c = 0; c < kChannels; ++c) {
#pragma unroll
            for (int i = 0; i < kStates; ++i) {
              const float input = pairs[pair].input_at(t % 2, c, i);
              h[c][i] = fmaf(pairs[pair].decay_at(t % 2, c, i, A), h[c][i], input);
            }
          }
          outputs.add(t, h, C, lane);
        }
      }
      constexpr int kPitch = sizeof(s.y[0][0]) / sizeof(float);
      outputs.template store<kPitch>(kRuns ? y : &s.y[slot][group + Outputs::first_step(lane)][channel]);
      y += 8 * kPitch;
    }
    s.scanned[slot].arrive();
  }
  if (exists && p.last_state != nullptr) {
    const Lane again(fresh_thread_index() % 32);  // state_start would have been kept all the way in two registers
    float* last =
        p.last_state +
        (w.block.row * p.d_inner + w.block.first_channel + warp * Shape::kWarpChannels + again.channel) * kDState +
        again.state;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) store_floats(last + c * kDState, h[c]);
  }
}

}  // namespace mpeft::kernels::fwd_roles
