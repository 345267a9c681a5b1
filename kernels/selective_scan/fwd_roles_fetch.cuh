#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"

// defines: fwd_roles::fetch, fetch_tile, ChannelSource, InputSource
//
// The role that fetches: u, delta, B and C a tile ahead of those who prepare, z two tiles later. In blocks that have no
// warps for it, those who prepare and those who finish fetch what they take.

namespace mpeft::kernels::fwd_roles {

/// tile[t][c] = source[t][c] for t < steps, c < channels, else 0. thread: of kThreads. (fetch_channels gives a thread
/// the same columns of every row that it copies; two warps and rows of 6 or 20 vectors do not go together that way.)
template <int kThreads, int kSteps, int kChannels>
__device__ __forceinline__ void fetch_tile(scalar_t (&tile)[kSteps][kChannels], const scalar_t* source, int time_stride,
                                           int steps, int channels, int thread) {
  constexpr int kVec = kVectorElements<scalar_t>, kRow = kChannels / kVec, kItems = kSteps * kRow;
  static_assert(kItems % kThreads == 0);
#pragma unroll
  for (int k = 0; k < kItems / kThreads; ++k) {
    int t, c;
    if constexpr (kThreads % kRow == 0) {  // no division but one
      t = thread / kRow + k * (kThreads / kRow), c = thread % kRow * kVec;
    } else {
      const int i = thread + k * kThreads;
      t = i / kRow, c = i % kRow * kVec;
    }
    copy_async(&tile[t][c], source + (t * time_stride + c), t < steps && c < channels);
  }
}

/// Fetches a row's tiles of u, delta or z, one after another, by kThreads threads.
template <typename Shape, int kThreads>
struct ChannelSource {
  const scalar_t* next;  ///< the tile's first step and channel; null: there is none
  int time_stride;

  __device__ __forceinline__ ChannelSource(const Sequence<const scalar_t>& x, const Work& w)
      : next(x.data != nullptr ? x.data + row_offset(x, w.block.row, w.span) + w.block.first_channel : nullptr),
        time_stride(static_cast<int>(x.time_stride)) {}
  /// steps: that the row has from the tile on.
  __device__ __forceinline__ void ask(scalar_t (&tile)[Shape::kSteps][Shape::kChannels], int steps, int channels,
                                      int thread) {
    fetch_tile<kThreads>(tile, next, time_stride, steps, channels, thread);
    next += Shape::kSteps * time_stride;
  }
};

/// The same of u, delta, B and C together.
template <typename Shape, int kThreads>
struct InputSource {
  ChannelSource<Shape, kThreads> u, delta;
  StateSource<scalar_t> states;

  __device__ __forceinline__ InputSource(const SelectiveScanFwdParams<scalar_t>& p, const Work& w, bool state_vectors)
      : u(p.u, w), delta(p.delta, w), states(state_source(p, w.block.row, w.span, state_vectors)) {}
  /// Of tile 0, 1, ...; beyond the row's last nothing.
  __device__ __forceinline__ void ask(Shared<Shape>& s, const Work& w, int tile, int thread) {
    if (tile >= w.tiles) return;
    const int step = tile * Shape::kSteps, steps = w.length - step;
    u.ask(s.u[tile % 4], steps, w.block.channels, thread);
    delta.ask(s.delta[tile % 2], steps, w.block.channels, thread);
    fetch_states<Shape::kSteps, Shape::kDState, kThreads>(s.states[tile % 2], states, step, min(Shape::kSteps, steps),
                                                          thread);
  }
};

/// thread: of the role.
template <typename Shape>
__device__ __forceinline__ void fetch(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                      int thread, bool state_vectors) {
  constexpr int kThreads = Shape::kFetchWarps * 32;
  InputSource<Shape, kThreads> inputs(p, w, state_vectors);
  ChannelSource<Shape, kThreads> z(p.z, w);
  inputs.ask(s, w, 0, thread);
  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile < w.tiles + 2; ++tile) {
    if (tile > 0) {
      // when tile - 2 is prepared, its delta, B and C are not needed any more, and tile - 4 is finished: its u, and its
      // z, in whose place that of tile - 2 goes
      if (tile >= 2) s.prepared[tile % 2].wait_for(tile / 2 - 1);
      inputs.ask(s, w, tile, thread);
      if (z.next != nullptr && tile >= 2) {
        z.ask(s.z[tile % 2], w.length - (tile - 2) * Shape::kSteps, w.block.channels, thread);
      }
    }
    copy_async_commit();
    copy_async_wait();
    s.fetched[tile % 2].arrive();
  }
}

}  // namespace mpeft::kernels::fwd_roles
