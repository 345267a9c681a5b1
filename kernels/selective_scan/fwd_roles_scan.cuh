#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::scan, LaneShare, load_columns, StepOutputs, StepPair
//
// The role that walks the recurrence. Lane l, (g, q) = (l / 4, l % 4), has for kWarpChannels
//   16: channels 2 g and 2 g + 1, states 4 q to 4 q + 3;
//    8: channel g, states 4 q to 4 q + 3;
//    4: channel g / 2, states 2 q and 2 q + 1, of even g from 0, of odd g from 8 on.
// C . h is a matrix product (m16n8k8): rows are channels, or fewer channels at two neighbouring steps; h is the left
// operand as it lies in the registers; the columns of the right one are C of 8 steps (of 4, in two halves of the
// states), loaded once for all of them. A product gives every row with every column, and a lane keeps those of the two
// columns it holds where step, and half, of row and column are the same.

namespace mpeft::kernels::fwd_roles {

/// A lane's share of the states.
template <int kWarpChannels>
struct LaneShare {
  static constexpr int kChannels = kWarpChannels == 16 ? 2 : 1, kStates = kWarpChannels == 4 ? 2 : 4;
  int g, q, channel, state;  ///< the first channel, of the warp, and the first state

  __device__ __forceinline__ explicit LaneShare(int lane)
      : g(lane / 4),
        q(lane % 4),
        channel(kWarpChannels == 16  ? 2 * g
                : kWarpChannels == 8 ? g
                                     : g / 2),
        state(kWarpChannels == 4 ? g % 2 * 8 + 2 * q : 4 * q) {}
};

/// C of 8 steps, for lane's column (or two) of the right operand. C: those steps.
template <int kWarpChannels>
__device__ __forceinline__ void load_columns(float (&columns)[2][LaneShare<kWarpChannels>::kStates],
                                             const float (*C)[16], const LaneShare<kWarpChannels>& lane) {
  if constexpr (kWarpChannels == 4) {  // column g: step g / 2, half g % 2 of the states
    load_floats(columns[0], &C[lane.g / 2][lane.state]);
    load_floats(columns[1], &C[4 + lane.g / 2][lane.state]);
  } else {  // column g: step g
    load_floats(columns[0], &C[lane.g][lane.state]);
  }
}

/// Takes h after step t of 8, the steps in order; y is complete, but for the sum that store adds, after the last.
template <int kWarpChannels>
struct StepOutputs;

template <>
struct StepOutputs<16> {
  float y[2][2];  ///< of steps 2 q, 2 q + 1; two channels

  __device__ __forceinline__ void add(int t, const float (&h)[2][4], const float (&C)[2][4],
                                      const LaneShare<16>& lane) {
    float sums[4] = {};
    kernels::detail::mma_tf32(sums, {h[0][0], h[1][0], h[0][1], h[1][1]}, C[0][0], C[0][1]);
    kernels::detail::mma_tf32(sums, {h[0][2], h[1][2], h[0][3], h[1][3]}, C[0][2], C[0][3]);
    // steps 0 and 1 fill every lane's y, so that it never is undefined
    if (t < 2 || lane.q == t / 2) y[t % 2][0] = sums[t % 2], y[t % 2][1] = sums[2 + t % 2];
  }
  template <int kSteps, int kPitch>
  __device__ __forceinline__ void store(float (&rows)[kSteps][kPitch], int first, int channel,
                                        const LaneShare<16>& lane) const {
    store_floats(&rows[first + 2 * lane.q][channel], y[0]);
    store_floats(&rows[first + 2 * lane.q + 1][channel], y[1]);
  }
};

template <>
struct StepOutputs<8> {
  float before[4];  ///< h after an even step, whose product waits for the next one
  float y[2];       ///< of steps 2 q, 2 q + 1

  __device__ __forceinline__ void add(int t, const float (&h)[1][4], const float (&C)[2][4], const LaneShare<8>& lane) {
    if (t % 2 == 0) {
#pragma unroll
      for (int i = 0; i < 4; ++i) before[i] = h[0][i];
      return;
    }
    float sums[4] = {};
    kernels::detail::mma_tf32(sums, {before[0], h[0][0], before[1], h[0][1]}, C[0][0], C[0][1]);
    kernels::detail::mma_tf32(sums, {before[2], h[0][2], before[3], h[0][3]}, C[0][2], C[0][3]);
    if (t == 1 || lane.q == t / 2) y[0] = sums[0], y[1] = sums[3];
  }
  template <int kSteps, int kPitch>
  __device__ __forceinline__ void store(float (&rows)[kSteps][kPitch], int first, int channel,
                                        const LaneShare<8>& lane) const {
    rows[first + 2 * lane.q][channel] = y[0];
    rows[first + 2 * lane.q + 1][channel] = y[1];
  }
};

template <>
struct StepOutputs<4> {
  float before[2];
  float y[2];  ///< of steps q, 4 + q: this lane's half of the states

  __device__ __forceinline__ void add(int t, const float (&h)[1][2], const float (&C)[2][2], const LaneShare<4>& lane) {
    if (t % 2 == 0) {
      before[0] = h[0][0], before[1] = h[0][1];
      return;
    }
    float sums[4] = {};
    kernels::detail::mma_tf32(sums, {before[0], h[0][0], before[1], h[0][1]}, C[t / 4][0], C[t / 4][1]);
    // columns 2 q, 2 q + 1: the halves of the states at step q of 4, which even q find in row g, odd q in row g + 8
    const float half0 = lane.q % 2 == 0 ? sums[0] : sums[2], half1 = lane.q % 2 == 0 ? sums[1] : sums[3];
    if (t % 4 == 1 || lane.q / 2 == 1) y[t / 4] = lane.g % 2 == 0 ? half0 : half1;
  }
  template <int kSteps, int kPitch>
  __device__ __forceinline__ void store(float (&rows)[kSteps][kPitch], int first, int channel,
                                        const LaneShare<4>& lane) const {
    // the halves are added: even g takes the first four steps, odd g the others
    const bool odd = lane.g % 2 == 1;
    const float own = odd ? y[1] : y[0], other = odd ? y[0] : y[1];
    rows[first + (odd ? 4 : 0) + lane.q][channel] = own + __shfl_xor_sync(0xffffffffu, other, 4);
  }
};

/// What a lane takes for two steps.
template <typename Shape, int kChannels, int kStates>
struct StepPair {
  float4 drive[kChannels], B[kStates / 2];

  /// first, last: drive of the lane's first and last channel; states: B of its states.
  __device__ __forceinline__ void load(const float4* first, const float4* last, const float4* states) {
    drive[0] = *first;
    if constexpr (kChannels == 2) drive[1] = *last;
#pragma unroll
    for (int i = 0; i < kStates / 2; ++i) B[i] = states[i];
  }
  /// step: 0 or 1 of the pair, t: of 8.
  __device__ __forceinline__ void advance(float (&h)[kChannels][kStates], const float (&A)[kChannels][kStates],
                                          int step, int t) const {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      const float delta = step == 0 ? drive[c].x : drive[c].z, delta_u = step == 0 ? drive[c].y : drive[c].w;
#pragma unroll
      for (int i = 0; i < kStates; ++i) {
        const float4 b = B[i / 2];
        const float even = step == 0 ? b.x : b.z, odd = step == 0 ? b.y : b.w, exponent = delta * A[c][i];
        h[c][i] = fmaf(is_polynomial(t, c, i) ? exp2_polynomial<5>(exponent) : decay<scalar_t>(exponent), h[c][i],
                       delta_u * (i % 2 == 0 ? even : odd));
      }
    }
  }
  /// Shape::kPolynomials of any 16 exponentials in a row.
  static __device__ constexpr bool is_polynomial(int t, int c, int i) {
    return Shape::kPolynomials > 0 && ((t * kChannels + c) * kStates + i) * Shape::kPolynomials % 16 == 0;
  }
};

/// warp: of the role.
template <typename Shape>
__device__ __forceinline__ void scan(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                     int warp) {
  using Lane = LaneShare<Shape::kWarpChannels>;
  constexpr int kSteps = Shape::kSteps, kDState = Shape::kDState, kChannels = Lane::kChannels, kStates = Lane::kStates;
  const Lane lane(static_cast<int>(threadIdx.x) % 32);
  const int channel = warp * Shape::kWarpChannels + lane.channel;  // of the block
  const bool exists = channel < w.block.channels;                  // of two neighbours both or none
  const int64_t state_start = (w.block.first_channel + channel) * kDState + lane.state;
  float A[kChannels][kStates] = {}, h[kChannels][kStates] = {};
  if (exists) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
#pragma unroll
      for (int i = 0; i < kStates; ++i) {
        const int64_t at = state_start + c * kDState + i;
        A[c][i] = p.A[at];
        if (p.initial_state != nullptr) h[c][i] = p.initial_state[w.block.row * p.initial_state_batch_stride + at];
      }
    }
  }
  const int every = static_cast<int>(p.checkpoint_every);
  const int checkpoint_size = static_cast<int>(p.d_inner * kDState);
  const bool keeps = p.checkpoints != nullptr && exists;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  const int place = place_in_drive(channel), last_place = place_in_drive(channel + kChannels - 1);

  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile * kSteps < w.length; ++tile) {
    const int slot = tile % 2, step = tile * kSteps, worked = worked_steps<Shape>(w, tile);
    s.prepared[slot].wait_for(tile / 2);  // which also says that the tile before last is finished: its y is free
    // what this lane takes for two steps, from the group's first on
    const float4 *drive = s.drive[slot][0] + place, *last_drive = s.drive[slot][0] + last_place;
    const float4* B = s.B[slot][0] + lane.state / 2;
#pragma unroll 1
    for (int group = 0; group < worked; group += 8) {
      // a state is kept every 8 steps, or every larger power of 2
      if (keeps && ((step + group) & (every - 1)) == 0) {
#pragma unroll
        for (int c = 0; c < kChannels; ++c) store_floats(kept + c * kDState, h[c]);
        kept += checkpoint_size;
      }
      float C[2][kStates];
      load_columns(C, &s.C[slot][group], lane);
      StepOutputs<Shape::kWarpChannels> outputs;
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        StepPair<Shape, kChannels, kStates> steps;
        steps.load(drive, last_drive, B);
        drive += Shape::kChannels, last_drive += Shape::kChannels, B += kDState / 2;
#pragma unroll
        for (int t = 2 * pair; t < 2 * pair + 2; ++t) {
          steps.advance(h, A, t % 2, t);
          outputs.add(t, h, C, lane);
        }
      }
      outputs.store(s.y[slot], group, channel, lane);
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
