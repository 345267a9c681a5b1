#pragma once

#include <cuda_bf16.h>

#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines, in fwd_walk: kUncut, LaneShare, place_in_C, column_of_4, load_columns, StepOutputs, StepPair
//
// How a warp walks the recurrence, 16 states, bfloat16. Lane l, (g, q) = (l / 4, l % 4), has for kWarpChannels
//   16: channels 2 g and 2 g + 1, states 4 q to 4 q + 3;
//    8: channel g, states 4 q to 4 q + 3;
//    4: channel g / 2, states 2 q and 2 q + 1, of even g from 0, of odd g from 8 on.
// C . h is a matrix product (m16n8k8): rows are channels, or fewer channels at two neighbouring steps; h is the left
// operand as it lies in the registers; the columns of the right one are C of 8 steps (of 4, in two halves of the
// states), loaded once for all of them. A product gives every row with every column, and a lane keeps those of the two
// columns it holds where step, and half, of row and column are the same.

namespace mpeft::kernels::fwd_walk {

using scalar_t = __nv_bfloat16;

/// The matrix unit cuts h to 11 bits, by half a unit of the last on average: of mantissas in [1, 2) whose logarithms
/// are spread evenly, by 2^-11 / (2 ln 2) of themselves. C . h times this is right on average.
inline constexpr float kUncut = 1.f + 3.5e-4f;

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

/// Where a state, the first of a vector, lies in a step's row of C. kSwapped: the halves of the states change places in
/// every other two steps, so that the lanes of column_of_4, which take one half of four steps together, meet different
/// banks. (Not swapped but where the walk is a group ahead: elsewhere that is 3 % slower, by the order of instructions;
/// README.md.)
template <bool kSwapped>
__device__ __forceinline__ int place_in_C(int step, int state) {
  return kSwapped ? state ^ (step >> 1 & 1) * 8 : state;
}

/// With 4 channels a warp: where C of the lane's column lies, of the first (half 0) or the last (half 1) 4 of 8 steps.
/// Column g: step g % 4 and half g / 4 of the states; the halves change places in the last four steps, so that a lane
/// finds what it keeps either in the first four or in the last.
template <bool kSwapped>
__device__ __forceinline__ const float* column_of_4(const float (*C)[16], const LaneShare<4>& lane, int half) {
  const int step = half * 4 + lane.g % 4, half_of_states = half == 0 ? lane.g / 4 : 1 - lane.g / 4;
  return &C[step][place_in_C<kSwapped>(step, half_of_states * 8 + 2 * lane.q)];
}

/// C of 8 steps, not swapped, for lane's column (or two) of the right operand. C: those steps.
template <int kWarpChannels>
__device__ __forceinline__ void load_columns(float (&columns)[2][LaneShare<kWarpChannels>::kStates],
                                             const float (*C)[16], const LaneShare<kWarpChannels>& lane) {
  if constexpr (kWarpChannels == 4) {
    load_floats(columns[0], column_of_4<false>(C, lane, 0));
    load_floats(columns[1], column_of_4<false>(C, lane, 1));
  } else {  // column g: step g
    load_floats(columns[0], &C[lane.g][lane.state]);
  }
}

/// Takes h after step t of 8, the steps in order; y is complete, but for the sum that store adds, after the last. store
/// is given the place of the lane's channel at its first_step of the 8, in rows of kPitch.
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
  static __device__ __forceinline__ int first_step(const LaneShare<16>& lane) { return 2 * lane.q; }
  template <int kPitch>
  __device__ __forceinline__ void store(float* rows) const {
    store_floats(rows, y[0]);
    store_floats(rows + kPitch, y[1]);
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
  static __device__ __forceinline__ int first_step(const LaneShare<8>& lane) { return 2 * lane.q; }
  template <int kPitch>
  __device__ __forceinline__ void store(float* rows) const {
    rows[0] = y[0];
    rows[kPitch] = y[1];
  }
};

template <>
struct StepOutputs<4> {
  float before[2];
  float own, other;  ///< of this lane's half of the states: y of the step that it stores, and of its neighbour's

  /// Whether the lane's two steps are among the last four.
  static __device__ __forceinline__ bool are_late(const LaneShare<4>& lane) { return lane.q / 2 != lane.g % 2; }

  __device__ __forceinline__ void add(int t, const float (&h)[1][2], const float (&C)[2][2], const LaneShare<4>& lane) {
    if (t % 2 == 0) {
      before[0] = h[0][0], before[1] = h[0][1];
      return;
    }
    float sums[4] = {};
    kernels::detail::mma_tf32(sums, {before[0], h[0][0], before[1], h[0][1]}, C[t / 4][0], C[t / 4][1]);
    // the lane's columns are steps 2 (q % 2) and the next of four, one half of the states; the first two steps fill
    // every lane, so that none stays undefined
    if (t == 1 || (lane.q % 2 == t / 2 % 2 && are_late(lane) == (t >= 4))) {
      own = lane.g % 2 == 0 ? sums[0] : sums[3];
      other = lane.g % 2 == 0 ? sums[3] : sums[0];
    }
  }
  static __device__ __forceinline__ int first_step(const LaneShare<4>& lane) {
    return (are_late(lane) ? 4 : 0) + lane.q % 2 * 2 + lane.g % 2;
  }
  /// y of first_step: even g and odd g have a half each, and a step each: lanes (g, q) and (g ^ 1, q ^ 2).
  __device__ __forceinline__ float sum() const { return own + __shfl_xor_sync(0xffffffffu, other, 6); }
  template <int kPitch>
  __device__ __forceinline__ void store(float* rows) const {
    rows[0] = sum();
  }
};

/// What a lane takes for two steps, as prepared.
template <int kChannels, int kStates>
struct StepPair {
  float4 drive[kChannels], B[kStates / 2];

  /// At a step, 0 or 1 of the pair, of the lane's channel c and state i: h = decay_at h + input_at.
  __device__ __forceinline__ float decay_at(int step, int c, int i, const float (&A)[kChannels][kStates]) const {
    return decay<scalar_t>((step == 0 ? drive[c].x : drive[c].z) * A[c][i]);
  }
  __device__ __forceinline__ float input_at(int step, int c, int i) const {
    const float4 b = B[i / 2];
    const float even = step == 0 ? b.x : b.z, odd = step == 0 ? b.y : b.w;
    return (step == 0 ? drive[c].y : drive[c].w) * (i % 2 == 0 ? even : odd);
  }
};

}  // namespace mpeft::kernels::fwd_walk
