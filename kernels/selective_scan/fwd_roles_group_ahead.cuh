#pragma once

#include "kernels/common/shared_address.cuh"
#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"

// defines: fwd_roles::scan_group_ahead
//
// The role that walks the recurrence, as in fwd_roles_scan.cuh, for warps that have a scheduler to themselves or share
// it with one other: there nobody else works while a warp waits for shared memory, for an exponential or for a product.
// So it loads drive and B of a group of 8 steps two groups ahead, C one ahead, and makes decays and inputs one group
// ahead. Groups come in pairs: what each of the two holds lies in registers of its own, so that nothing is moved.

namespace mpeft::kernels::fwd_roles {

/// What a lane, of one channel and two states, takes for 8 steps: as loaded, and what it makes of that.
struct StepGroup {
  fwd_walk::StepPair<1, 2> pairs[4];
  float decays[8][2], inputs[8][2];  ///< h = decay h + input

  __device__ __forceinline__ void make(const float (&A)[1][2]) {
#pragma unroll
    for (int t = 0; t < 8; ++t) {
#pragma unroll
      for (int i = 0; i < 2; ++i) decays[t][i] = pairs[t / 2].decay_at(t % 2, 0, i, A);
#pragma unroll
      for (int i = 0; i < 2; ++i) inputs[t][i] = pairs[t / 2].input_at(t % 2, 0, i);
    }
  }
};

/// Where a lane finds and leaves in shared memory what belongs to a group of 8 steps.
template <typename Shape>
struct GroupPlaces {
  using Lane = fwd_walk::LaneShare<4>;
  using Outputs = fwd_walk::StepOutputs<4>;
  using Ring = GroupRing<Shape>;
  SharedAddress drive, B, first_column, last_column, y;  ///< of group 0

  __device__ __forceinline__ GroupPlaces(Shared<Shape>& s, const Lane& lane, int channel)
      : drive(s.drive[0][0] + place_in_drive(channel)),
        B(s.B[0][0] + lane.state / 2),
        first_column(fwd_walk::column_of_4<true>(s.C[0], lane, 0)),
        last_column(fwd_walk::column_of_4<true>(s.C[0], lane, 1)),
        y(&s.y[0][Outputs::first_step(lane)][channel]) {}

  __device__ __forceinline__ void load(StepGroup& group, unsigned at) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      group.pairs[i].drive[0] = drive.load4(at * Ring::kDrive + i * (Ring::kDrive / 4));
      group.pairs[i].B[0] = B.load4(at * Ring::kB + i * (Ring::kB / 4));
    }
  }
  __device__ __forceinline__ void load_columns(float (&C)[2][2], unsigned at) const {
    first_column.load(C[0], at * Ring::kC);
    last_column.load(C[1], at * Ring::kC);
  }
};

/// Walks the row for the channels of a warp; warp: of the role.
template <typename Shape>
__device__ __forceinline__ void scan_group_ahead(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p,
                                                 const Work& w, int warp) {
  static_assert(Shape::kSteps % 32 == 0);  // two pairs of groups a tile at least
  constexpr int kDState = Shape::kDState;
  const typename GroupPlaces<Shape>::Lane lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = warp * Shape::kWarpChannels + lane.channel;  // of the block
  const bool exists = channel < w.block.channels;
  const int64_t state_start = (w.block.first_channel + channel) * kDState + lane.state;
  float A[1][2] = {}, h[1][2] = {};
  if (exists) load_first_states<kDState>(A, h, p, w, state_start);
  const bool keeps = p.checkpoints != nullptr && exists,
             keeps_all = p.checkpoint_every == kSelectiveScanCheckpointEvery;
  const int checkpoint_size = static_cast<int>(p.d_inner * kDState), groups = (w.length + 7) / 8;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  // Of a pair of groups: a state is kept before the first if its step modulo checkpoint_every is kept_remainder (1:
  // never, steps are multiples of 16), and before the second if that is a group below second_below (none where fewer
  // states are kept; beyond the row's end there is none to keep).
  const int every_mask = keep_in_register(static_cast<int>(p.checkpoint_every - 1)),
            kept_remainder = keep_in_register(keeps ? 0 : 1),
            kept_stride = keep_in_register(keeps_all ? 2 * checkpoint_size : checkpoint_size),
            second_below = keep_in_register(keeps && keeps_all ? groups : 0);

  constexpr unsigned kRing = GroupRing<Shape>::kGroups, kTilePairs = kRing / 4;
  const GroupPlaces<Shape> places(s, lane, channel);
  StepGroup group[2];
  float C[2][2][2];
  meet<kBlockBarrier, Shape::kThreads>();
  const unsigned pairs = (groups + 1) / 2;
  if (pairs > 0) {
    s.prepared[0].wait_for(0);
    places.load(group[0], 0);
    places.load(group[1], 1);
    places.load_columns(C[0], 0);
    group[0].make(A);
  }
  // Pair `pair` is loaded while the one before it is walked; `ahead` and `now` are their first groups in the ring.
  unsigned now = 0, ahead = 2, pair = 1, end = kTilePairs;
  int slot = 0, phase = 0;  // of the tile that is loaded
  while (pair <= pairs) {
    // While the last pair is walked there is nothing to load: what lies there is loaded, and not used; and nobody
    // writes there, because there is no next tile.
    if (pair < pairs) s.prepared[slot].wait_for(phase);
    phase ^= slot, slot ^= 1;
    end = min(end, pairs + 1);
#pragma unroll 1
    do {
      const int first = static_cast<int>(2 * pair - 2);  // group of the row
      float sums[2];
#pragma unroll
      for (int x = 0; x < 2; ++x) {
        places.load(group[x], ahead + x);
        places.load_columns(C[1 - x], x == 0 ? now + 1 : ahead);
        const bool keeps_first = ((first * 8) & every_mask) == kept_remainder;
        if (x == 0 && keeps_first) store_floats(kept, h[0]);
        if (x == 1 && first + 1 < second_below) store_floats(kept + kept_stride / 2, h[0]);
        if (x == 1 && keeps_first) kept += kept_stride;
        typename GroupPlaces<Shape>::Outputs outputs;
#pragma unroll
        for (int t = 0; t < 8; ++t) {
#pragma unroll
          for (int i = 0; i < 2; ++i) h[0][i] = fmaf(group[x].decays[t][i], h[0][i], group[x].inputs[t][i]);
          outputs.add(t, h, C[x], lane);
        }
        group[1 - x].make(A);
        sums[x] = outputs.sum();
      }
      // both here: the loads of the second group are not to wait for the sums of the first
      places.y.store(now * GroupRing<Shape>::kY, sums[0]);
      places.y.store(now * GroupRing<Shape>::kY + GroupRing<Shape>::kY, sums[1]);
      if (pair % kTilePairs == 0 || pair == pairs) s.scanned[now / (2 * kTilePairs)].arrive();
      now = ahead;
      ahead = (ahead + 2) % kRing;
    } while (++pair < end);
    end += kTilePairs;
  }
  if (exists && p.last_state != nullptr) {
    store_floats(p.last_state + w.block.row * p.d_inner * kDState + state_start, h[0]);
  }
}

}  // namespace mpeft::kernels::fwd_roles
