#pragma once

#include "kernels/selective_scan/fwd_roles_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::prepare
//
// The role that fetches u, delta, B and C a tile ahead and makes of them what the recurrence takes.

namespace mpeft::kernels::fwd_roles {

/// thread: of the role. Tile i is ready at the barrier i + 2.
template <typename Shape>
__device__ __forceinline__ void prepare(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                        int thread, bool state_vectors) {
  constexpr int kVector = Shape::kVector, kSteps = Shape::kSteps, kRow = Shape::kRow,
                kThreads = Shape::kPrepareWarps * 32, kRows = kThreads / kRow;
  const TileCopy<kSteps, Shape::kChannels, kThreads, scalar_t> copy(thread);
  const StateSource<scalar_t> states = state_source(p, w.block.row, w.span, state_vectors);
  const scalar_t* u_source = p.u.data + row_offset(p.u, w.block.row, w.span) + w.block.first_channel;
  const scalar_t* delta_source = p.delta.data + row_offset(p.delta, w.block.row, w.span) + w.block.first_channel;
  const int u_stride = static_cast<int>(p.u.time_stride), delta_stride = static_cast<int>(p.delta.time_stride);
  auto fetch = [&](int tile) {  // called with tile 0, 1, ...
    const int step = tile * kSteps, steps = min(kSteps, w.length - step);
    if (steps <= 0) return;
    fetch_channels(copy, s.u[tile % 4], u_source, u_stride, steps, w.block.channels);
    fetch_channels(copy, s.delta[tile % 2], delta_source, delta_stride, steps, w.block.channels);
    u_source += kSteps * u_stride;
    delta_source += kSteps * delta_stride;
    fetch_states<kSteps, Shape::kDState, kThreads>(s.states[tile % 2], states, step, steps, thread);
    copy_async_commit();
  };
  fetch(0);

  const int channel = thread % kRow * kVector;  // the first of the vector that this thread turns into drive
  float bias[kVector] = {};
  if (p.delta_bias != nullptr && channel < w.block.channels) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      bias[i] = softplus_bias<scalar_t>(p.delta_bias[w.block.first_channel + channel + i]);
    }
  }
  copy_async_wait();
  meet();  // other threads of the role see what this one fetched
  for (int tile = 0; tile < w.tiles + 2; ++tile) {
    if (tile < w.tiles) {
      fetch(tile + 1);
      const int steps = w.length - tile * kSteps, worked = worked_steps<Shape>(w, tile), slot = tile % 2;
#pragma unroll
      for (int k = 0; k < kSteps / kRows; ++k) {
        const int t = thread / kRow + k * kRows;
        if (t >= worked) break;
        float u[kVector], raw[kVector], delta[kVector];
        load_floats(u, &s.u[tile % 4][t][channel]);
        load_floats(raw, &s.delta[slot][t][channel]);
        softplus_delta<scalar_t>(delta, nullptr, raw, bias, p.delta_softplus);
        if (t >= steps) {  // beyond the row's end the state stays as it is
#pragma unroll
          for (int i = 0; i < kVector; ++i) delta[i] = 0.f;
        }
#pragma unroll
        for (int i = 0; i < kVector; i += 2) {
          *reinterpret_cast<float4*>(&s.drive[slot][t][drive_place<kVector, Shape::kChannels>(channel + i, t)]) =
              make_float4(delta[i], delta[i] * u[i], delta[i + 1], delta[i + 1] * u[i + 1]);
        }
      }
      widen_states<kSteps, Shape::kDState, kThreads>(s.BC[slot], s.states[slot], kDeltaUnit<scalar_t>, thread);
      copy_async_wait();
    }
    meet();
  }
}

}  // namespace mpeft::kernels::fwd_roles
