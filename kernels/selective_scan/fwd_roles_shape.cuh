#pragma once

#include <cuda_bf16.h>

#include "kernels/common/arrivals.cuh"
#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: RolesWalk, RolesShape, and in fwd_roles: Shared, GroupRing, Work, worked_steps, load_first_states, meet,
// kBlockBarrier, kPrepareBarrier, kFinishBarrier, place_in_drive
//
// What the four roles of the forward (fwd_roles.cuh) share: the block's shape, its shared memory, and through it the
// tiles that they hand on.

namespace mpeft::kernels {

/// Who fills a scanning warp's waits for shared memory, special functions and products: other warps (kInOrder,
/// fwd_roles_scan.cuh), or the warp itself, which makes what it walks a step before (kStepAhead,
/// fwd_roles_step_ahead.cuh; 16 channels a warp) or 8 steps before (kGroupAhead, fwd_roles_group_ahead.cuh; 4 channels
/// a warp).
enum class RolesWalk { kInOrder, kStepAhead, kGroupAhead };

/// kWarpChannels (4, 8 or 16) channels a warp that scans; kScanWarps, kPrepareWarps, kFinishWarps and kFetchWarps warps
/// of each role; tiles of kSteps; kBlocks blocks a multiprocessor bound the registers. kPolynomialSoftplus:
/// softplus takes its logarithm from the fused multiply-add pipe, where the special function unit is the limit. A
/// multiprocessor deals a block's warps out to four schedulers in turn: the best shapes give each as many warps, and as
/// many that scan. No warps that fetch: those who prepare and finish do it.
template <int kWarpChannels_, int kScanWarps_, int kPrepareWarps_, int kFinishWarps_, int kFetchWarps_, int kSteps_,
          int kBlocks_, RolesWalk kWalk_ = RolesWalk::kInOrder, bool kPolynomialSoftplus_ = false>
struct RolesShape {
  static constexpr RolesWalk kWalk = kWalk_;
  static constexpr bool kPolynomialSoftplus = kPolynomialSoftplus_;
  /// Steps are walked in whole groups of so many.
  static constexpr int kWhole = kWalk == RolesWalk::kGroupAhead ? 16 : 8;
  static constexpr int kWarpChannels = kWarpChannels_, kScanWarps = kScanWarps_, kPrepareWarps = kPrepareWarps_,
                       kFinishWarps = kFinishWarps_, kFetchWarps = kFetchWarps_, kSteps = kSteps_, kBlocks = kBlocks_;
  static constexpr int kDState = 16, kChannels = kWarpChannels * kScanWarps;
  static constexpr int kThreads = (kScanWarps + kPrepareWarps + kFinishWarps + kFetchWarps) * 32;
  /// Neighbouring channels that a thread prepares (of two steps) or finishes (of one) at a time, and the threads that
  /// share those steps.
  static constexpr int kVector = 4, kRow = kChannels / kVector;
  static_assert(kWarpChannels == 4 || kWarpChannels == 8 || kWarpChannels == 16);
  static_assert(kWalk != RolesWalk::kStepAhead || kWarpChannels == 16);
  static_assert(kWalk != RolesWalk::kGroupAhead || kWarpChannels == 4);
  static_assert(kSteps % kWhole == 0 && kChannels % kVector == 0);
  static_assert(kPrepareWarps * 32 % kRow == 0 && kFinishWarps * 32 % kRow == 0);
};

namespace fwd_roles {

using scalar_t = __nv_bfloat16;

/// Tile i of a row lies in slot i % (slots). u is read twice: while tile i + 1 is on its way, tile i - 2 may still be
/// read by those who finish.
template <typename Shape>
struct Shared {
  static constexpr int kSteps = Shape::kSteps, kChannels = Shape::kChannels, kDState = Shape::kDState;
  alignas(16) scalar_t u[4][kSteps][kChannels], delta[2][kSteps][kChannels], z[2][kSteps][kChannels];
  alignas(16) scalar_t states[2][kSteps][2 * kDState];  ///< B, C as they come
  /// (delta', delta' u) of a channel at two steps, in units of kDeltaUnit; place_in_drive.
  alignas(16) float4 drive[2][kSteps / 2][kChannels];
  /// Two neighbouring states at one step, then at the next; times kDeltaUnit, in which delta u is measured.
  alignas(16) float4 B[2][kSteps / 2][kDState / 2];
  alignas(16) float C[2][kSteps][kDState];        ///< place_in_C, swapped where the walk is a group ahead
  alignas(16) float y[2][kSteps][kChannels + 4];  ///< C' . h; padded, so that the lanes of a quad meet no bank twice
  // phase i / 2 of slot i % 2:
  Arrivals fetched[2];   ///< u, delta, B and C of tile i are there, and z of tile i - 2; unused where no warps fetch
  Arrivals prepared[2];  ///< drive, B and C of tile i are there, its delta and states are free, and so is y of i - 2
  Arrivals scanned[2];   ///< y of tile i is there, its drive, B and C are free
  Arrivals finished[2];  ///< y, u and z of tile i are free
};

/// Groups of 8 steps, for warps that walk ahead of themselves. Slots 0 and 1 of a tensor lie one behind the other:
/// together they are a ring of groups. kDrive, kB, kC, kY: bytes from a group to the next.
template <typename Shape>
struct GroupRing {
  static constexpr unsigned kGroups = 2 * Shape::kSteps / 8;
  static constexpr uint32_t kDrive = sizeof(Shared<Shape>::drive) / kGroups, kB = sizeof(Shared<Shape>::B) / kGroups,
                            kC = sizeof(Shared<Shape>::C) / kGroups, kY = sizeof(Shared<Shape>::y) / kGroups;
};

/// What all roles know of the block's work.
struct Work {
  ScanBlock block;
  RowSpan span;
  int length, tiles;
};

/// Steps of a tile that are worked on: those of the row, in whole groups.
template <typename Shape>
__device__ __forceinline__ int worked_steps(const Work& w, int tile) {
  return min(Shape::kSteps, (w.length - tile * Shape::kSteps + Shape::kWhole - 1) & ~(Shape::kWhole - 1));
}

/// A and the state that the row begins with, of the channels and states from `start` of (d_inner, kDState).
template <int kDState, int kChannels, int kStates>
__device__ __forceinline__ void load_first_states(float (&A)[kChannels][kStates], float (&h)[kChannels][kStates],
                                                  const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                                  int64_t start) {
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
#pragma unroll
    for (int i = 0; i < kStates; ++i) {
      const int64_t at = start + c * kDState + i;
      A[c][i] = p.A[at];
      if (p.initial_state != nullptr) h[c][i] = p.initial_state[w.block.row * p.initial_state_batch_stride + at];
    }
  }
}

/// A barrier of kThreads threads, the whole of one role or of the block.
template <int kBarrier, int kThreads>
__device__ __forceinline__ void meet() {
  asm volatile("barrier.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}
inline constexpr int kBlockBarrier = 0, kPrepareBarrier = 1, kFinishBarrier = 2;

/// Where a channel lies in its row of drive: threads that write together, four neighbouring channels each, meet
/// different banks with 64 channels and more (with 16 and 48 two of them meet).
__device__ __forceinline__ int place_in_drive(int channel) { return channel ^ (channel >> 3 & 3); }

}  // namespace fwd_roles
}  // namespace mpeft::kernels
