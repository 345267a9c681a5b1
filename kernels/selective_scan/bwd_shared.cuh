#pragma once

#include "kernels/selective_scan/bwd_places.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"

// defines: BwdShared, dBC_place
//
// Selective scan, backward, main pass: what a block keeps in shared memory.

namespace mpeft::kernels {

/// kSavedY: y comes from the forward, not from states recomputed here. kWithTerms: has_state_terms, or an out_offset.
template <typename scalar_t, typename Shape, bool kSavedY, bool kWithTerms>
struct BwdShared {
  using tile_t = scalar_t[Shape::kTile][Shape::kPitch];
  using pairs_t = float[Shape::kTile][Shape::kPairPitch];
  // Two stages: one being used, one being fetched. Once a stage is prepared, it takes the gradients.
  tile_t delta[2], z[2], dout[2], u[2], y[kSavedY ? 2 : 1];
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  BwdPlaces<scalar_t> places[Shape::kThreads];
  const float* checkpoints[Shape::kThreads];  // a lane's own; null: no such channel
  pairs_t step;                               // delta in units of kDeltaUnit, delta u: store_pairs
  pairs_t dy;                                 // dy, derivative of softplus
  float dz_factor[kSavedY ? 1 : Shape::kTile][Shape::kChannels + 4];  // dout silu'(z)
  float bias[Shape::kChannels], D[Shape::kChannels], offset[kWithTerms ? Shape::kChannels : 4];
  float BC[2][Shape::kTile][2 * Shape::kDState];
  float4 h_before[2][Shape::kLaneChannels][Shape::kThreads];  // a lane's own: the states before the tile's halves
  float4 dBC[Shape::kWarps * Shape::kPartials][Shape::kTile][Shape::kDState / 2];  // swizzled: dBC_place
};

/// Place of a float4 in the rows of BwdShared::dBC of the steps step, step + kProductSteps, ..., so that the lanes of a
/// warp write to different banks.
template <typename Shape>
__device__ __forceinline__ int dBC_place(int step, int quad) {
  if constexpr (Shape::kDState == 8) return quad ^ (step & 2);
  const int tig = step * Shape::kHalves + (quad >> 3) % Shape::kHalves;
  return quad ^ (tig << 1);
}

}  // namespace mpeft::kernels
