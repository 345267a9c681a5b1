#pragma once

#include "kernels/common/shared_address.cuh"
#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"

// defines: fwd_roles::scan_step_ahead
//
// The role that walks the recurrence, as in fwd_roles_scan.cuh, for warps of 16 channels that share a scheduler with
// one other: two do not fill each other's waits. So what a step takes is loaded two or three steps before it is
// walked, and its decays and inputs are made one step before; the loop's body is 8 steps, over which registers take
// turns and nothing is moved. The body walks two steps late, first the last two of the group before, so that the warp
// waits for a tile where it first loads from it.

namespace mpeft::kernels::fwd_roles {

using StepsAhead = fwd_walk::StepPair<2, 4>;

/// h = decay h + input at one step.
struct StepMade {
  float decays[2][4], inputs[2][4];
};

/// Walks `now`, and makes `next` of step 0 or 1 of `pair`: element by element, so that the assembler finds them mixed.
__device__ __forceinline__ void walk_and_make(float (&h)[2][4], const StepMade& now, StepMade& next,
                                              const StepsAhead& pair, int step, const float (&A)[2][4]) {
#pragma unroll
  for (int c = 0; c < 2; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      next.decays[c][i] = pair.decay_at(step, c, i, A);
      next.inputs[c][i] = pair.input_at(step, c, i);
      h[c][i] = fmaf(now.decays[c][i], h[c][i], now.inputs[c][i]);
    }
  }
}

/// Where a lane finds and leaves in shared memory what belongs to a group of 8 steps.
template <typename Shape>
struct StepPlaces {
  using Ring = GroupRing<Shape>;
  SharedAddress drive, last_drive, B, C, y;  ///< of group 0; drive of the lane's first channel and of its last

  __device__ __forceinline__ StepPlaces(Shared<Shape>& s, const fwd_walk::LaneShare<16>& lane, int channel)
      : drive(s.drive[0][0] + place_in_drive(channel)),
        last_drive(s.drive[0][0] + place_in_drive(channel + 1)),
        B(s.B[0][0] + lane.state / 2),
        C(&s.C[0][lane.g][lane.state]),
        y(&s.y[0][fwd_walk::StepOutputs<16>::first_step(lane)][channel]) {}

  /// pair: of the group's four.
  __device__ __forceinline__ void load(StepsAhead& steps, unsigned group, int pair) const {
    steps.drive[0] = drive.load4(group * Ring::kDrive + pair * (Ring::kDrive / 4));
    steps.drive[1] = last_drive.load4(group * Ring::kDrive + pair * (Ring::kDrive / 4));
    steps.B[0] = B.load4(group * Ring::kB + pair * (Ring::kB / 4));
    steps.B[1] = B.load4(group * Ring::kB + pair * (Ring::kB / 4) + sizeof(float4));
  }
  __device__ __forceinline__ void load_columns(float (&columns)[2][4], unsigned group) const {
    const float4 x = C.load4(group * Ring::kC);
    columns[0][0] = x.x, columns[0][1] = x.y, columns[0][2] = x.z, columns[0][3] = x.w;
  }
  __device__ __forceinline__ void store(const fwd_walk::StepOutputs<16>& outputs, unsigned group) const {
    y.store(group * Ring::kY, outputs.y[0]);
    y.store(group * Ring::kY + sizeof(Shared<Shape>::y[0][0]), outputs.y[1]);
  }
};

/// Walks the row for the channels of a warp; warp: of the role.
template <typename Shape>
__device__ __forceinline__ void scan_step_ahead(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p,
                                                const Work& w, int warp) {
  constexpr int kSteps = Shape::kSteps, kDState = Shape::kDState;
  const fwd_walk::LaneShare<16> lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = warp * 16 + lane.channel;    // of the block
  const bool exists = channel < w.block.channels;  // of two neighbours both or none
  const int64_t state_start = (w.block.first_channel + channel) * kDState + lane.state;
  float A[2][4] = {}, h[2][4] = {};
  if (exists) load_first_states<kDState>(A, h, p, w, state_start);
  const int every = static_cast<int>(p.checkpoint_every);
  const int checkpoint_size = static_cast<int>(p.d_inner * kDState);
  const bool keeps = p.checkpoints != nullptr && exists;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  const StepPlaces<Shape> places(s, lane, channel);

  // Step t of 8 is in pairs[t / 2] and in made[t % 2]. Before the row's first group two steps are walked that leave h
  // as it is: decays of 1, inputs of 0. The second decay is made, of a delta that any A but minus infinity turns into 1
  // (of 0 it would not be a number there); that state is lost a step before it would be anyway.
  StepsAhead pairs[4] = {};
  StepMade made[2];
#pragma unroll
  for (int c = 0; c < 2; ++c) {
    pairs[3].drive[c].z = 1e-38f;
#pragma unroll
    for (int i = 0; i < 4; ++i) made[0].decays[c][i] = 1.f, made[0].inputs[c][i] = 0.f;
  }
  float C[2][4] = {};
  fwd_walk::StepOutputs<16> outputs = {};
  auto step = [&](int t) {
    const int next = (t + 1) % 8;
    walk_and_make(h, made[t % 2], made[next % 2], pairs[next / 2], next % 2, A);
    outputs.add(t, h, C, lane);
  };
  meet<kBlockBarrier, Shape::kThreads>();
  unsigned group = 0,
           before = GroupRing<Shape>::kGroups - 1;  // of the ring; `before` is walked to its end with `group`
  int row_step = 0;
  for (int tile = 0; tile < w.tiles; ++tile) {
    const int slot = tile % 2, end = min((tile + 1) * kSteps, (w.length + 7) & ~7);
    s.prepared[slot].wait_for(tile / 2);  // which also says that the tile before last is finished: its y is free
#pragma unroll 1
    for (; row_step < end; row_step += 8) {
      places.load(pairs[0], group, 0);
      step(6);
      step(7);
      // y of the group before; at the row's first group it goes where nobody looks before the next tile is walked
      places.store(outputs, before);
      s.scanned[slot ^ 1].arrive_if(row_step == tile * kSteps && tile > 0);
      places.load(pairs[1], group, 1);
      // a state is kept every 8 steps, or every larger power of 2
      if (keeps && (row_step & (every - 1)) == 0) {
#pragma unroll
        for (int c = 0; c < 2; ++c) store_floats(kept + c * kDState, h[c]);
        kept += checkpoint_size;
      }
      places.load_columns(C, group);
      step(0);
      step(1);
#pragma unroll
      for (int pair = 2; pair < 4; ++pair) {
        places.load(pairs[pair], group, pair);
        step(2 * pair - 2);
        step(2 * pair - 1);
      }
      before = group, group = (group + 1) % GroupRing<Shape>::kGroups;
    }
  }
  if (w.tiles > 0) {
    step(6);
    step(7);
    places.store(outputs, before);
    s.scanned[(w.tiles - 1) % 2].arrive();
  }
  if (exists && p.last_state != nullptr) {
    const fwd_walk::LaneShare<16> again(fresh_thread_index() % 32);  // state_start would have been kept all the way
    float* last = p.last_state +
                  (w.block.row * p.d_inner + w.block.first_channel + warp * 16 + again.channel) * kDState + again.state;
#pragma unroll
    for (int c = 0; c < 2; ++c) store_floats(last + c * kDState, h[c]);
  }
}

}  // namespace mpeft::kernels::fwd_roles
