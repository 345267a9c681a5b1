#pragma once

// Selective scan, backward: sums over the channels of a warp by the matrix unit, and over the states of a channel by
// shuffles.
#include <type_traits>

#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: SelectedSums, WeightedSums, BwdSums, sum_over_states, first_kept_step

namespace mpeft::kernels {

/// Sums over channels of values[channel][state] weight[channel], for kProductSteps steps: the lane multiplies and adds
/// its own channels, products with a 0/1 matrix (11 significant bits; 22 for types finer than bfloat16) do the rest.
template <typename scalar_t, typename Shape>
struct SelectedSums {
  static constexpr int kLane = Shape::kLaneChannels;
  float sums[4] = {};

  /// The right operand of a step: column 2 (step, half) + {0, 1} of the result are states 0 and 2, or 1 and 3, of this
  /// lane's group, so that the result comes out in order.
  struct Operand {
    float column[Shape::kProductSteps][2];

    __device__ __forceinline__ explicit Operand(const BwdLane<Shape>& lane) {
#pragma unroll
      for (int q = 0; q < Shape::kProductSteps; ++q) {
        const int first = 2 * (q * Shape::kHalves + lane.half);
        column[q][0] = lane.g == first ? 1.f : 0.f;
        column[q][1] = lane.g == first + 1 ? 1.f : 0.f;
      }
    }
  };

  __device__ __forceinline__ void begin(const float*) {}
  __device__ __forceinline__ void add(const Operand& operand, int q, const float (&values)[kLane][4],
                                      const float (&weight)[kLane]) {
    float products[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float& product = products[i / 2 + i % 2 * 2];
#pragma unroll
      for (int c = 0; c < kLane; ++c) {
        product = c == 0 ? values[0][i] * weight[0] : fmaf(values[c][i], weight[c], product);
      }
    }
    add_channels<scalar_t>(sums, products, operand.column[q][0], operand.column[q][1]);
  }
  /// The four states of this lane's group at step tig / kHalves.
  __device__ __forceinline__ void result(const BwdLane<Shape>&, float (&states)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) states[i] = sums[i];
  }
};

/// The same where the matrix unit also multiplies, which takes 8 instructions a step less: the left operand is the
/// values of the lane's two channels, the right one has a column for each step and partial, the weights in it. What the
/// columns of the other partial sum up to is thrown away. Values are cut to 11 significant bits, weights rounded.
template <typename Shape>
struct WeightedSums {
  static_assert(Shape::kLaneChannels == 2 && Shape::kGroups == 4 && Shape::kProductSteps * Shape::kPartials == 8);
  float weight[2], low[4] = {}, high[4] = {};  // of this lane's column; states 0 and 1, 2 and 3

  /// Which of the steps this lane's column is.
  struct Operand {
    int step;

    __device__ __forceinline__ explicit Operand(const BwdLane<Shape>& lane) : step(lane.g / Shape::kPartials) {}
  };

  /// weights: those of the column's step and channels.
  __device__ __forceinline__ void begin(const float* weights) {
    load_floats(weight, weights);
#pragma unroll
    for (float& w : weight) w = __uint_as_float(__float_as_uint(w) + 0x1000u);  // the unit then cuts 13 bits off
  }
  __device__ __forceinline__ void add(const Operand& operand, int q, const float (&values)[2][4], const float (&)[2]) {
    const float first = operand.step == q ? weight[0] : 0.f, second = operand.step == q ? weight[1] : 0.f;
    detail::mma_tf32(low, {values[0][0], values[0][1], values[1][0], values[1][1]}, first, second);
    detail::mma_tf32(high, {values[0][2], values[0][3], values[1][2], values[1][3]}, first, second);
  }
  __device__ __forceinline__ void result(const BwdLane<Shape>& lane, float (&states)[4]) const {
    const bool odd = lane.partial != 0;
    states[0] = odd ? low[1] : low[0];
    states[1] = odd ? low[3] : low[2];
    states[2] = odd ? high[1] : high[0];
    states[3] = odd ? high[3] : high[2];
  }
};

template <typename scalar_t, typename Shape>
using BwdSums =
    std::conditional_t<std::is_same_v<scalar_t, __nv_bfloat16> && Shape::kGroups == 4 && Shape::kLaneChannels == 2,
                       WeightedSums<Shape>, SelectedSums<scalar_t, Shape>>;

/// Adds over the lanes of a channel, values[t][c] being this lane's part of step t. Afterwards values[0 .. kKept) are
/// the sums of the steps from first_kept_step.
template <typename Shape, int kN>
__device__ __forceinline__ void sum_over_states(float (&values)[Shape::kSubTile][kN]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    const int kept = Shape::kSubTile >> (bit + 1);
    const int upper = (lane >> (2 + bit)) & 1;
#pragma unroll
    for (int j = 0; j < kept; ++j) {
#pragma unroll
      for (int c = 0; c < kN; ++c) {
        float send, keep;  // upper ? j : j + kept, and the other one; the compiler would make three moves of the two
        asm("{\n\t.reg .pred q;\n\tsetp.ne.s32 q, %4, 0;\n\tselp.f32 %0, %2, %3, q;\n\tselp.f32 %1, %3, %2, q;\n\t}"
            : "=f"(send), "=f"(keep)
            : "f"(values[j][c]), "f"(values[j + kept][c]), "r"(upper));
        values[j][c] = keep + __shfl_xor_sync(0xffffffffu, send, 4 << bit);
      }
    }
  }
  if constexpr (Shape::kHalves == 2) {
#pragma unroll
    for (int c = 0; c < kN; ++c) values[0][c] += __shfl_xor_sync(0xffffffffu, values[0][c], 1);
  }
}

/// First step of those that sum_over_states leaves in this lane.
template <typename Shape>
__device__ __forceinline__ int first_kept_step(int thread) {
  int step = 0;
#pragma unroll
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    step += ((thread % 32) >> (2 + bit) & 1) * (Shape::kSubTile >> (bit + 1));
  }
  return step;
}

}  // namespace mpeft::kernels
