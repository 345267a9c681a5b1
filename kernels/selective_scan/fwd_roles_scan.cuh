#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"

// defines: fwd_roles::scan
//
// The role that walks the recurrence (fwd_walk.cuh), for warps of 4 and 8 channels.

namespace mpeft::kernels::fwd_roles {

/// warp: of the role.
template <typename Shape>
__device__ __forceinline__ void scan(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                     int warp) {
  using Lane = fwd_walk::LaneShare<Shape::kWarpChannels>;
  using Outputs = fwd_walk::StepOutputs<Shape::kWarpChannels>;
  constexpr int kSteps = Shape::kSteps, kDState = Shape::kDState, kStates = Lane::kStates;
  static_assert(Lane::kChannels == 1);
  const Lane lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = warp * Shape::kWarpChannels + lane.channel;  // of the block
  const bool exists = channel < w.block.channels;
  const int64_t state_start = (w.block.first_channel + channel) * kDState + lane.state;
  float A[1][kStates] = {}, h[1][kStates] = {};
  if (exists) load_first_states<kDState>(A, h, p, w, state_start);
  const int every = static_cast<int>(p.checkpoint_every);
  const int checkpoint_size = static_cast<int>(p.d_inner * kDState);
  const bool keeps = p.checkpoints != nullptr && exists;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  const int place = place_in_drive(channel);

  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile < w.tiles; ++tile) {
    const int slot = tile % 2, step = tile * kSteps, worked = worked_steps<Shape>(w, tile);
    s.prepared[slot].wait_for(tile / 2);  // which also says that the tile before last is finished: its y is free
    // what this lane takes for two steps, from the group's first on
    const float4 *drive = s.drive[slot][0] + place, *B = s.B[slot][0] + lane.state / 2;
    float* y = &s.y[slot][Outputs::first_step(lane)][channel];
#pragma unroll 1
    for (int group = 0; group < worked; group += 8) {
      // a state is kept every 8 steps, or every larger power of 2
      if (keeps && ((step + group) & (every - 1)) == 0) {
        store_floats(kept, h[0]);
        kept += checkpoint_size;
      }
      float C[2][kStates];
      fwd_walk::load_columns(C, &s.C[slot][group], lane);
      Outputs outputs;
      // what two steps take is loaded before the two steps before them are walked
      fwd_walk::StepPair<1, kStates> pairs[4];
      auto load = [&](int pair) {
        pairs[pair].drive[0] = *drive;
#pragma unroll
        for (int i = 0; i < kStates / 2; ++i) pairs[pair].B[i] = B[i];
        drive += Shape::kChannels, B += kDState / 2;
      };
      load(0);
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        if (pair < 3) load(pair + 1);
#pragma unroll
        for (int t = 2 * pair; t < 2 * pair + 2; ++t) {
#pragma unroll
          for (int i = 0; i < kStates; ++i) {
            h[0][i] = fmaf(pairs[pair].decay_at(t % 2, 0, i, A), h[0][i], pairs[pair].input_at(t % 2, 0, i));
          }
          outputs.add(t, h, C, lane);
        }
      }
      constexpr int kPitch = sizeof(s.y[0][0]) / sizeof(float);
      outputs.template store<kPitch>(y);
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
    store_floats(last, h[0]);
  }
}

}  // namespace mpeft::kernels::fwd_roles
