#pragma once

#include <cuda_bf16.h>

#include "kernels/common/arrivals.cuh"
#include "kernels/selective_scan/bwd_places.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/bwd_work.cuh"

// defines: BwdRolesShape, and in bwd_roles: Prepared, LanePlaces, GradientPlaces,
// Shared, Slot, place_of_pair, meet, kPrepareBarrier, kFinishBarrier
//
// What the three roles of the backward (bwd_roles.cuh) share: the block's shape, its shared memory, and through it the
// tiles that they hand on.

namespace mpeft::kernels {

/// 128 channels a block, 16 a warp that scans; the warps of each role are whole groups of four, because registers move
/// between such groups (move_registers.cuh). Registers: what all threads begin with, and what they have in each role.
struct BwdRolesShape : BwdShape<16, 8, 1, 2> {
  static constexpr int kPrepareWarps = 4, kFinishWarps = 4;
  static constexpr int kAllThreads = (kWarps + kPrepareWarps + kFinishWarps) * 32;
  static constexpr int kScanRegisters = 208, kPrepareRegisters = 48, kFinishRegisters = 48;
  static_assert(kWarps * kScanRegisters + kPrepareWarps * kPrepareRegisters + kFinishWarps * kFinishRegisters <=
                65536 / 32);
  /// Of the tiles of the first pass, so that they fit into 48 KiB.
  static constexpr int kPitch = kChannels + 8;
};

namespace bwd_roles {

using scalar_t = __nv_bfloat16;
using Shape = BwdRolesShape;
inline constexpr int kTile = Shape::kTile, kChannels = Shape::kChannels, kDState = Shape::kDState,
                     kHalfSteps = Shape::kSubTile;

/// Where the two pairs of values of a channel pair lie in a row of pairs_t (in floats, aligned to four): threads that
/// have eight neighbouring channels each, or four, and access the i-th pair of them together meet different banks.
/// channel: the pair's first.
__device__ __forceinline__ int place_of_pair(int channel) {
  const unsigned eight = static_cast<unsigned>(channel) / 8, pair = static_cast<unsigned>(channel) / 2 % 4;
  return static_cast<int>(eight * 16 + (pair ^ (eight / 2 % 4)) * 4);
}

/// What the walk takes of a tile.
struct Prepared {
  using pairs_t = float[kTile][2 * kChannels];
  pairs_t step;  ///< delta in units of kDeltaUnit, delta u
  pairs_t dy;    ///< dy, derivative of softplus
  float BC[kTile][2 * kDState];
};

/// Where a lane that scans finds what it walks, in bytes from the block's shared memory, for slot 0 and half 0: kept
/// here, because registers are short and finding them anew takes 60 instructions.
struct alignas(16) LanePlaces {
  int pairs, column, BC, dBC;
};

/// Of four neighbouring channels, at step 0 of the row; of gradients that are not wanted nothing in particular.
struct GradientPlaces {
  scalar_t *du, *ddelta, *dz;
};

/// Tile k of those that a block walks (the last of its steps is tile 0) lies in slot k % (slots).
struct Shared {
  /// Tiles that are prepared, walked or finished at a time: with two those who prepare wait for those who finish, 2 %.
  static constexpr int kPreparedTiles = 3;
  using tile_t = scalar_t[kTile][kChannels];
  alignas(16) tile_t delta[2], dout[2], u[4], z[2], y[2];
  alignas(16) scalar_t states[2][kTile][2 * kDState];  ///< B, C as they come
  alignas(16) Prepared tile[kPreparedTiles];
  /// Of each half of a tile S1 and S2 (bwd_kernel.cuh) of its steps, by place_of_pair.
  alignas(16) float sums[2][kHalfSteps][2 * kChannels];
  /// A lane's own: the states before the halves.
  alignas(16) float4 h_before[2][Shape::kLaneChannels][Shape::kThreads];
  alignas(128) float4 dBC[Shape::kWarps * Shape::kPartials][kTile][kDState / 2];  ///< swizzled: dBC_place
  LanePlaces lane[Shape::kThreads];
  int sums_place[Shape::kThreads];
  GradientPlaces gradients[kChannels / 4];
  float* dBC_place[Shape::kFinishWarps * 32];  ///< of a thread that finishes: where its sums of step 0 of the row go
  alignas(16) float bias[kChannels], D[kChannels];
  /// Step 0 of the row, of each eight neighbouring channels; states: of each four neighbouring ones of B, then of C.
  alignas(16) BwdInputPlaces<scalar_t> row[kChannels / 8];
  Arrivals prepared[kPreparedTiles];  ///< phase k / (slots): `tile` of tile k is there, and u
  Arrivals walked[2];                 ///< phase k, by halves: sums and dBC of tile k are there
  Arrivals finished[2];               ///< phase k, by halves: they are free; with half 0 `tile` and u as well
};
static_assert(sizeof(Shared) <= 227 * 1024);

/// A tile's slot of kSlots and its phase in `prepared`.
template <int kSlots>
struct Slot {
  int slot = 0, phase = 0;

  __device__ __forceinline__ void advance() {
    if (++slot == kSlots) slot = 0, ++phase;
  }
};

/// A barrier of the 128 threads of one role.
template <int kBarrier>
__device__ __forceinline__ void meet() {
  asm volatile("barrier.sync %0, 128;" ::"n"(kBarrier) : "memory");
}
inline constexpr int kPrepareBarrier = 1, kFinishBarrier = 2;

}  // namespace bwd_roles
}  // namespace mpeft::kernels
