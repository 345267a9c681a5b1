#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::scan, LaneShare
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

/// C of 8 steps, for lane's column (or two) of the right operand.
template <int kWarpChannels, int kSteps>
__device__ __forceinline__ void load_columns(float (&C)[2][LaneShare<kWarpChannels>::kStates],
                                             const float (&BC)[kSteps][32], int first,
                                             const LaneShare<kWarpChannels>& lane) {
  if constexpr (kWarpChannels == 4) {  // column g: step g / 2, half g % 2 of the states
    load_floats(C[0], &BC[first + lane.g / 2][16 + lane.state]);
    load_floats(C[1], &BC[first + 4 + lane.g / 2][16 + lane.state]);
  } else {  // column g: step g
    load_floats(C[0], &BC[first + lane.g][16 + lane.state]);
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

/// warp: of the role. Walks tile i behind the barrier i + 2; its y is there at the next one.
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
  const int64_t checkpoint_size = p.d_inner * kDState;
  const bool keeps = p.checkpoints != nullptr && exists;
  float* kept =
      keeps ? p.checkpoints + first_checkpoint(p, w.block.row, w.span) * checkpoint_size + state_start : nullptr;
  // of this lane's drive, in rows of even and of odd steps
  const int even_place = drive_place<Shape::kVector, Shape::kChannels>(channel & ~1, 0) + (channel & 1),
            odd_place = drive_place<Shape::kVector, Shape::kChannels>(channel & ~1, 1) + (channel & 1);

  meet();
  meet();  // tile 0 is prepared
  for (int tile = 0; tile < w.tiles; ++tile) {
    const int slot = tile % 2, step = tile * kSteps, worked = worked_steps<Shape>(w, tile);
#pragma unroll 1
    for (int group = 0; group < worked; group += 8) {
      // a state is kept every 8 steps, or every larger power of 2
      if (keeps && ((step + group) & (every - 1)) == 0) {
#pragma unroll
        for (int c = 0; c < kChannels; ++c) store_floats(kept + c * kDState, h[c]);
        kept += checkpoint_size;
      }
      float C[2][kStates];
      load_columns(C, s.BC[slot], group, lane);
      StepOutputs<Shape::kWarpChannels> outputs;
#pragma unroll
      for (int t = 0; t < 8; ++t) {
        float x[2 * kChannels], B[kStates];
        load_floats(x, &s.drive[slot][group + t][t % 2 == 0 ? even_place : odd_place].x);
        load_floats(B, &s.BC[slot][group + t][lane.state]);
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
#pragma unroll
          for (int i = 0; i < kStates; ++i) {
            h[c][i] = fmaf(decay<scalar_t>(x[2 * c] * A[c][i]), h[c][i], x[2 * c + 1] * B[i]);
          }
        }
        outputs.add(t, h, C, lane);
      }
      outputs.store(s.y[slot], group, channel, lane);
    }
    meet();
  }
  meet();
  if (exists && p.last_state != nullptr) {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) {
      store_floats(p.last_state + w.block.row * checkpoint_size + state_start + c * kDState, h[c]);
    }
  }
}

}  // namespace mpeft::kernels::fwd_roles
