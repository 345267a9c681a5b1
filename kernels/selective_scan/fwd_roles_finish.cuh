#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::finish
//
// The role that fetches z a tile ahead, adds D u, gates and stores.

namespace mpeft::kernels::fwd_roles {

/// The matrix unit cuts h to 11 bits, by half a unit of the last on average: of mantissas in [1, 2) whose logarithms
/// are spread evenly, by 2^-11 / (2 ln 2) of themselves.
inline constexpr float kUncut = 1.f + 3.5e-4f;

/// thread: of the role. Finishes tile i behind the barrier i + 3.
template <typename Shape>
__device__ __forceinline__ void finish(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                       int thread) {
  constexpr int kVector = Shape::kVector, kSteps = Shape::kSteps, kRow = Shape::kRow,
                kThreads = Shape::kFinishWarps * 32, kRows = kThreads / kRow;
  const TileCopy<kSteps, Shape::kChannels, kThreads, scalar_t> copy(thread);
  const bool gated = p.z.data != nullptr, with_y = p.y != nullptr;
  const scalar_t* z_source = gated ? p.z.data + row_offset(p.z, w.block.row, w.span) + w.block.first_channel : nullptr;
  const int z_stride = static_cast<int>(p.z.time_stride);
  auto fetch = [&](int tile) {  // called with tile 0, 1, ...
    const int steps = min(kSteps, w.length - tile * kSteps);
    if (!gated || steps <= 0) return;
    fetch_channels(copy, s.z[tile % 2], z_source, z_stride, steps, w.block.channels);
    z_source += kSteps * z_stride;
    copy_async_commit();
  };

  const int channel = thread % kRow * kVector;
  const bool exists = channel < w.block.channels;
  float D[kVector] = {};
  if (p.D != nullptr && exists) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) D[i] = p.D[w.block.first_channel + channel + i];
  }
  const int64_t out_start = (w.span.first + thread / kRow) * p.d_inner + w.block.first_channel + channel;
  scalar_t* out = p.out + out_start;  // this thread's first step of the tile
  scalar_t* y_kept = with_y ? p.y + out_start : nullptr;
  const int out_stride = static_cast<int>(kRows * p.d_inner);

  meet();
  for (int tile = -2; tile < w.tiles; ++tile) {
    if (tile >= -1) fetch(tile + 1);
    if (tile >= 0) {
      const int step = tile * kSteps, steps = w.length - step, slot = tile % 2;
      const int stored_steps = static_cast<int>(min(int64_t{kSteps}, w.span.stored - step));
#pragma unroll
      for (int k = 0; k < kSteps / kRows; ++k) {
        const int t = thread / kRow + k * kRows;
        if (t < stored_steps && exists) {
          float y[kVector], x[kVector];
          load_floats(y, &s.y[slot][t][channel]);
          load_floats(x, &s.u[tile % 4][t][channel]);
          if (t >= steps) {  // padding, where u and z are 0
#pragma unroll
            for (int i = 0; i < kVector; ++i) y[i] = 0.f;
          }
#pragma unroll
          for (int i = 0; i < kVector; ++i) y[i] = fmaf(D[i], x[i], kUncut * y[i]);
          if (with_y) store_floats(y_kept + k * out_stride, y);
          if (gated) {
            load_floats(x, &s.z[slot][t][channel]);
#pragma unroll
            for (int i = 0; i < kVector; ++i) y[i] *= silu<scalar_t>(x[i]).value;
          }
          store_floats(out + k * out_stride, y);
        }
      }
      out += kSteps * p.d_inner;
      if (with_y) y_kept += kSteps * p.d_inner;
    }
    copy_async_wait();
    meet();
  }
  // tiles that are all padding; the backward does not read their y
  const float zeros[kVector] = {};
  for (int64_t t = int64_t{w.tiles} * kSteps + thread / kRow; t < w.span.stored; t += kRows) {
    if (exists) store_floats(p.out + (w.span.first + t) * p.d_inner + w.block.first_channel + channel, zeros);
  }
}

}  // namespace mpeft::kernels::fwd_roles
