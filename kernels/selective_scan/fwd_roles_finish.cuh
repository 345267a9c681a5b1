#pragma once

#include "kernels/selective_scan/fwd_roles_fetch.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::finish, finish_tile
//
// The role that adds D u, gates and stores.

namespace mpeft::kernels::fwd_roles {

/// out (and y_kept, if any): of this thread's first step of the tile and its first channel; stored_steps of the tile
/// are stored, those beyond `steps`, the row's end, as zeros. D: of the thread's channels.
template <typename Shape>
__device__ __forceinline__ void finish_tile(const Shared<Shape>& s, int tile, int thread, int steps, int stored_steps,
                                            int64_t d_inner, const float (&D)[Shape::kVector], bool gated,
                                            scalar_t* out, scalar_t* y_kept) {
  constexpr int kVector = Shape::kVector, kRows = Shape::kFinishWarps * 32 / Shape::kRow;
  const int channel = thread % Shape::kRow * kVector, slot = tile % 2, out_stride = static_cast<int>(kRows * d_inner);
#pragma unroll
  for (int k = 0; k < (Shape::kSteps + kRows - 1) / kRows; ++k) {
    const int t = thread / Shape::kRow + k * kRows;
    if (t >= stored_steps) break;
    float y[kVector], x[kVector];
    load_floats(y, &s.y[slot][t][channel]);
    load_floats(x, &s.u[tile % 4][t][channel]);
    if (t >= steps) {  // padding, where u and z are 0
#pragma unroll
      for (int i = 0; i < kVector; ++i) y[i] = 0.f;
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) y[i] = fmaf(D[i], x[i], fwd_walk::kUncut * y[i]);
    if (y_kept != nullptr) store_floats(y_kept + k * out_stride, y);
    if (gated) {
      load_floats(x, &s.z[slot][t][channel]);
#pragma unroll
      for (int i = 0; i < kVector; ++i) y[i] *= silu<scalar_t>(x[i]).value;
    }
    store_floats(out + k * out_stride, y);
  }
}

/// thread: of the role.
template <typename Shape>
__device__ __forceinline__ void finish(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                       int thread) {
  constexpr int kVector = Shape::kVector, kSteps = Shape::kSteps, kThreads = Shape::kFinishWarps * 32,
                kRows = kThreads / Shape::kRow;
  constexpr bool kFetches = Shape::kFetchWarps == 0;
  const bool gated = p.z.data != nullptr;
  ChannelSource<Shape, kThreads> z(p.z, w);
  auto fetch = [&](int tile) {  // called with tile 0, 1, ..., where no warps fetch
    if (gated && tile < w.tiles) z.ask(s.z[tile % 2], w.length - tile * kSteps, w.block.channels, thread);
    copy_async_commit();
  };
  if constexpr (kFetches) fetch(0);

  const int channel = thread % Shape::kRow * kVector;
  const bool exists = channel < w.block.channels;
  float D[kVector] = {};
  if (p.D != nullptr && exists) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) D[i] = p.D[w.block.first_channel + channel + i];
  }
  const int64_t out_start = (w.span.first + thread / Shape::kRow) * p.d_inner + w.block.first_channel + channel;
  scalar_t* out = p.out + out_start;  // this thread's first step of the tile
  scalar_t* y_kept = p.y != nullptr ? p.y + out_start : nullptr;
  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile < w.tiles; ++tile) {
    if constexpr (kFetches) {
      copy_async_wait();
      // z of this tile is there for all of the role, and all have read the last one's
      meet<kFinishBarrier, kThreads>();
      fetch(tile + 1);
    }
    s.scanned[tile % 2].wait_for(tile / 2);
    if constexpr (!kFetches) {
      // z of this tile arrives with phase tile / 2 + 1. Parity alone would take phase tile / 2 - 1 for it: so not
      // before `scanned`, which says that phase tile / 2 is complete
      if (gated) s.fetched[tile % 2].wait_for(tile / 2 + 1);
    }
    const int step = tile * kSteps, stored = exists ? static_cast<int>(min(int64_t{kSteps}, w.span.stored - step)) : 0;
    finish_tile(s, tile, thread, w.length - step, stored, p.d_inner, D, gated, out, y_kept);
    s.finished[tile % 2].arrive();
    out += kSteps * p.d_inner;
    if (y_kept != nullptr) y_kept += kSteps * p.d_inner;
  }
  // tiles that are all padding; the backward does not read their y
  const float zeros[kVector] = {};
  for (int64_t t = int64_t{w.tiles} * kSteps + thread / Shape::kRow; t < w.span.stored; t += kRows) {
    if (exists) store_floats(p.out + (w.span.first + t) * p.d_inner + w.block.first_channel + channel, zeros);
  }
}

}  // namespace mpeft::kernels::fwd_roles
