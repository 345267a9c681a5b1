#pragma once

// Selective scan, backward: where each thread's part of a tile lies in global memory. Neither kept in registers, of
// which there are none to spare, nor computed anew for each tile, which costs some 20 instructions a tensor: a thread
// keeps the addresses of step 0 in shared memory, where no other looks, and a tile's is one multiply-add away.
#include "kernels/selective_scan/scan_tile.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: at_step, BwdInputPlaces, BwdPlaces, place_of, bwd_input_places, place_outputs, place_of_states, fetch_own,
// fetch_own_states

namespace mpeft::kernels {

/// x at `step`: one instruction. (From 64-bit products the compiler makes five.)
template <typename scalar_t>
__device__ __forceinline__ scalar_t* at_step(scalar_t* x, int step, int64_t time_stride) {
  const int bytes = static_cast<int>(time_stride) * static_cast<int>(sizeof(scalar_t));  // is_tile_aligned
  uint64_t address;
  asm("mad.wide.s32 %0, %1, %2, %3;" : "=l"(address) : "r"(step), "r"(bytes), "l"(x));
  return reinterpret_cast<scalar_t*>(address);
}

/// A thread's first vector of each input's tile at step 0; of tensors that are not there nothing in particular. states:
/// of B or C.
template <typename scalar_t>
struct BwdInputPlaces {
  const scalar_t *delta, *dout, *z, *u, *y, *states;
};

/// The same with the gradients. Five times 16 bytes: threads that read together meet different banks.
template <typename scalar_t>
struct alignas(16) BwdPlaces : BwdInputPlaces<scalar_t> {
  scalar_t *du, *ddelta, *dz;
  float* dBC;
};

/// (row, step t of the span, channel) of x, whose rows are tile-aligned.
template <typename scalar_t>
__device__ __forceinline__ scalar_t* place_of(const Sequence<scalar_t>& x, int64_t row, const RowSpan& span, int t,
                                              int64_t channel) {
  return at_step(x.data + (row * x.batch_stride + channel), static_cast<int>(span.start) + t, x.time_stride);
}

/// Those of (step t, channel); states is left to the caller.
template <typename scalar_t>
__device__ __forceinline__ BwdInputPlaces<scalar_t> bwd_input_places(const SelectiveScanBwdParams<scalar_t>& p,
                                                                     int64_t row, const RowSpan& span, int t,
                                                                     int64_t channel) {
  BwdInputPlaces<scalar_t> place{};
  place.delta = place_of(p.delta, row, span, t, channel);
  place.dout = place_of(p.dout, row, span, t, channel);
  place.z = place_of(p.z, row, span, t, channel);
  place.u = place_of(p.u, row, span, t, channel);
  place.y = p.y + ((span.first + t) * p.d_inner + channel);
  return place;
}

/// Those of the gradients at (step t, channel); dBC is left to the caller.
template <typename scalar_t>
__device__ __forceinline__ void place_outputs(BwdPlaces<scalar_t>& place, const SelectiveScanBwdParams<scalar_t>& p,
                                              int64_t row, const RowSpan& span, int t, int64_t channel) {
  place.du = place_of(p.du, row, span, t, channel);
  place.ddelta = place_of(p.ddelta, row, span, t, channel);
  place.dz = place_of(p.dz, row, span, t, channel);
}

/// Of (step t, state c of B, then C). 32-bit products: is_tile_aligned bounds the strides where states are fetched by
/// vectors (launch_tiled); otherwise the place is not used.
template <int kDState, typename scalar_t>
__device__ __forceinline__ const scalar_t* place_of_states(const StateSource<scalar_t>& states, int t, int c) {
  return c < kDState ? states.B + (t * states.B_stride + c) : states.C + (t * states.C_stride + (c - kDState));
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

/// Those of a tile of B and C, by threads that take part; source is place_of_states at the tile's first step.
template <int kSteps, int kDState, int kThreads, typename scalar_t>
__device__ __forceinline__ void fetch_own_states(const TileCopy<kSteps, 2 * kDState, kThreads, scalar_t>& copy,
                                                 scalar_t (&tile)[kSteps][2 * kDState], const scalar_t* place,
                                                 const StateSource<scalar_t>& states, int step, int steps) {
  const int stride = copy.c < kDState ? states.B_stride : states.C_stride;
  fetch_own(copy, tile, at_step(place, step, stride), stride, steps, 2 * kDState);
}

}  // namespace mpeft::kernels
