#pragma once

#include <cuda_bf16.h>

#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: RolesShape, and in fwd_roles: Shared, Work, worked_steps, meet
//
// What the three roles of the forward (fwd_roles.cuh) share: the block's shape, its shared memory, its barrier.

namespace mpeft::kernels {

/// kWarpChannels (4, 8 or 16) channels a warp that scans; kScanWarps, kPrepareWarps and kFinishWarps warps of each
/// role; tiles of kSteps; kBlocks blocks a multiprocessor bound the registers.
template <int kWarpChannels_, int kScanWarps_, int kPrepareWarps_, int kFinishWarps_, int kSteps_, int kBlocks_>
struct RolesShape {
  static constexpr int kWarpChannels = kWarpChannels_, kScanWarps = kScanWarps_, kPrepareWarps = kPrepareWarps_,
                       kFinishWarps = kFinishWarps_, kSteps = kSteps_, kBlocks = kBlocks_;
  static constexpr int kDState = 16, kChannels = kWarpChannels * kScanWarps;
  static constexpr int kThreads = (kScanWarps + kPrepareWarps + kFinishWarps) * 32;
  /// Neighbouring channels that a thread prepares or finishes, and the threads of a step.
  static constexpr int kVector = 8, kRow = kChannels / kVector;
  static_assert(kWarpChannels == 4 || kWarpChannels == 8 || kWarpChannels == 16);
  static_assert(kSteps % 8 == 0 && kChannels % kVector == 0);
  static_assert(kSteps * kRow % (kPrepareWarps * 32) == 0 && kSteps * kRow % (kFinishWarps * 32) == 0);
};

namespace fwd_roles {

using scalar_t = __nv_bfloat16;

/// Tile i of a row lies in slot i % (slots). u is read twice, two tiles apart, while a fourth tile is on its way.
template <typename Shape>
struct Shared {
  static constexpr int kSteps = Shape::kSteps, kChannels = Shape::kChannels, kPitch = kChannels + 8;
  alignas(16) scalar_t u[4][kSteps][kPitch], delta[2][kSteps][kPitch], z[2][kSteps][kPitch];
  alignas(16) scalar_t states[2][kSteps][2 * Shape::kDState];  ///< B, C as they come
  alignas(16) float2 drive[2][kSteps][kChannels];  ///< (delta', delta' u), in units of kDeltaUnit; drive_place
  alignas(16) float BC[2][kSteps][2 * Shape::kDState];
  alignas(16) float y[2][kSteps][kChannels + 4];  ///< C' . h
};

/// What all roles know of the block's work.
struct Work {
  ScanBlock block;
  RowSpan span;
  int length, tiles;
};

/// Steps of a tile that are worked on: those of the row, in whole groups of 8.
template <typename Shape>
__device__ __forceinline__ int worked_steps(const Work& w, int tile) {
  return min(Shape::kSteps, (w.length - tile * Shape::kSteps + 7) & ~7);
}

/// The block's barrier, where its warps come from different places in the code: every role passes it w.tiles + 3 times.
/// Barriers are counted from 1.
__device__ __forceinline__ void meet() { asm volatile("barrier.sync 0;" ::: "memory"); }

}  // namespace fwd_roles
}  // namespace mpeft::kernels
