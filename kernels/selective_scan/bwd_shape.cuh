#pragma once

#include <cstdint>

#include "kernels/selective_scan/bwd_plan.h"
#include "kernels/selective_scan/scan_tile.cuh"

// defines: kHasSpareRegisters, BwdShape, BwdLane, column_channel, BwdPreparation, store_pairs

namespace mpeft::kernels {

/// Whether registers are left for what a block of the main pass wants again at its end, and for many loads at once. For
/// sm_90 the assembler keeps what all threads of a block share elsewhere; for the others it would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ != 900
inline constexpr bool kHasSpareRegisters = false;
#else
inline constexpr bool kHasSpareRegisters = true;
#endif

/// The backward's mapping: 4 states of kLaneChannels neighbouring channels a lane, so d_state / 4 state groups a
/// channel. Of a lane's number, the two low bits (tig) and the three high ones (g) are coordinates of a matrix
/// fragment: summing over tig is what the matrix unit does for free. So tig counts channels, and g counts state groups,
/// then more channels. With 16 groups the low bit of tig is the high bit of the group. Two channels a lane share what
/// it loads of B and C.
template <int kDState_, int kWarps_, int kBlocks_, int kLaneChannels_>
struct BwdShape {
  static constexpr int kDState = kDState_, kWarps = kWarps_, kBlocks = kBlocks_, kLaneChannels = kLaneChannels_;
  static constexpr int kThreads = kWarps * 32, kTile = 16, kSubTile = 8;
  static constexpr int kGroups = kDState / 4, kGroupsInG = kGroups < 8 ? kGroups : 8, kHalves = kGroups / kGroupsInG;
  static constexpr int kWarpChannels = 32 / kGroups * kLaneChannels, kChannels = kWarps * kWarpChannels;
  static constexpr int kPartials =
      8 / kGroupsInG;  ///< sums over channels a warp leaves, one a value of g's channel bits
  static constexpr int kProductSteps = 4 / kHalves;  ///< steps whose sums share one accumulator
  /// Of the input tiles: with 16 states lanes that read together, kTile kWarpChannels / 32 channels each, meet
  /// different banks; with others this is as fast.
  static constexpr int kPitch = kChannels + (kLaneChannels == 2 && kWarpChannels == 16 ? 16 : 8);
  static constexpr int kPairPitch = 2 * kChannels + 4;  ///< of what a warp prepares for its lanes, in floats
  static_assert(kDState % 8 == 0 && kDState <= 64 && kChannels % 8 == 0);
};

/// A lane's place in its warp; channel is the first of its kLaneChannels.
template <typename Shape>
struct BwdLane {
  int tig, g, half, group, channel, partial;

  __device__ __forceinline__ explicit BwdLane(int thread) {
    const int lane = thread % 32;
    tig = lane % 4;
    g = lane / 4;
    half = tig % Shape::kHalves;
    group = g % Shape::kGroupsInG + 8 * half;
    partial = g / Shape::kGroupsInG;
    channel = thread / 32 * Shape::kWarpChannels +
              (partial * (4 / Shape::kHalves) + tig / Shape::kHalves) * Shape::kLaneChannels;
  }
};

/// The first of the channels whose weights a lane has in the right operand of a product: its partial is that of the
/// column, not the lane's own.
template <typename Shape>
__device__ __forceinline__ int column_channel(const BwdLane<Shape>& lane) {
  const int own = lane.partial * (4 / Shape::kHalves), column = lane.g % Shape::kPartials * (4 / Shape::kHalves);
  return lane.channel + (column - own) * Shape::kLaneChannels;
}

/// What a lane of a warp prepares of a tile, or of its first kSteps: kVector of the warp's own channels at step t. Only
/// the warp itself reads it.
template <typename Shape, int kSteps = Shape::kTile>
struct BwdPreparation {
  static constexpr int kVector = kSteps * Shape::kWarpChannels / 32;
  int t, c;

  __device__ __forceinline__ explicit BwdPreparation(int thread) {
    static_assert(kVector >= Shape::kLaneChannels);
    constexpr int kRow = Shape::kWarpChannels / kVector;
    t = thread % 32 / kRow;
    c = thread / 32 * Shape::kWarpChannels + thread % kRow * kVector;
  }
};

/// row[2 c ..] = pairs of values of a step, of kN channels from c: lane by lane first its channels' `first`, then their
/// `second`.
template <typename Shape, int kN>
__device__ __forceinline__ void store_pairs(float* row, int c, const float (&first)[kN], const float (&second)[kN]) {
  constexpr int kLane = Shape::kLaneChannels, kVector = kN * 2 < 4 ? kN * 2 : 4;
#pragma unroll
  for (int at = 0; at < 2 * kN; at += kVector) {
    float x[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const int place = (at + i) % (2 * kLane), channel = (at + i) / (2 * kLane) * kLane + place % kLane;
      x[i] = place < kLane ? first[channel] : second[channel];
    }
    store_floats(row + 2 * c + at, x);
  }
}

}  // namespace mpeft::kernels
