#pragma once

// Selective scan, backward: where each thread's part of a tile lies in global memory. Neither kept in registers, of
// which there are none to spare, nor computed anew for each tile, which costs some 20 instructions a tensor: a thread
// keeps the addresses of step 0 in shared memory, where no other looks, and a tile's is one multiply-add away.
#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: BwdPlaces, bwd_places, at_step, fetch_own

namespace mpeft::kernels {

/// A thread's first vector of each tensor's tile at step 0; of tensors that are not there nothing in particular.
/// Five times 16 bytes: threads that read together meet different banks.
template <typename scalar_t>
struct alignas(16) BwdPlaces {
  const scalar_t *delta, *dout, *z, *u, *y, *states;
  scalar_t *du, *ddelta, *dz;
  float* dBC;
};

/// Those of (step t, channel); states and dBC are left to the caller.
template <typename scalar_t>
__device__ __forceinline__ BwdPlaces<scalar_t> bwd_places(const SelectiveScanBwdParams<scalar_t>& p, int64_t row,
                                                          const RowSpan& span, int t, int64_t channel) {
  auto place_of = [&](const auto& x) { return x.data + (row_offset(x, row, span) + t * x.time_stride + channel); };
  BwdPlaces<scalar_t> place;
  place.delta = place_of(p.delta);
  place.dout = place_of(p.dout);
  place.z = place_of(p.z);
  place.u = place_of(p.u);
  place.y = p.y + ((span.first + t) * p.d_inner + channel);
  place.du = place_of(p.du);
  place.ddelta = place_of(p.ddelta);
  place.dz = place_of(p.dz);
  return place;
}

/// x at `step`: one instruction. (From 64-bit products the compiler makes five.)
template <typename scalar_t>
__device__ __forceinline__ scalar_t* at_step(scalar_t* x, int step, int64_t time_stride) {
  const int bytes = static_cast<int>(time_stride) * static_cast<int>(sizeof(scalar_t));  // is_tile_aligned
  uint64_t address;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(address) : "r"(step), "r"(bytes), "l"(x));
  return reinterpret_cast<scalar_t*>(address);
}

/// The vectors of a tile that are this thread's: source is at_step of its place.
template <int kSteps, int kChannels, int kThreads, int kPitch, typename scalar_t>
__device__ __forceinline__ void fetch_own(const TileCopy<kSteps, kChannels, kThreads, scalar_t>& copy,
                                          scalar_t (&tile)[kSteps][kPitch], const scalar_t* source, int64_t time_stride,
                                          int steps, int channels) {
  using Copy = TileCopy<kSteps, kChannels, kThreads, scalar_t>;
#pragma unroll
  for (int k = 0; k < Copy::kPasses; ++k) {
    const int t = copy.t + k * Copy::kRows;
    copy_async(&tile[t][copy.c], at_step(source, k * Copy::kRows, time_stride), t < steps && copy.c < channels);
  }
}

}  // namespace mpeft::kernels
