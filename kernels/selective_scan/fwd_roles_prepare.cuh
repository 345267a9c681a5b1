#pragma once

#include "kernels/selective_scan/fwd_roles_fetch.cuh"
#include "kernels/selective_scan/scan_math.cuh"

// defines: fwd_roles::prepare, prepare_drive, prepare_states
//
// The role that makes of u, delta, B and C what the recurrence takes.

namespace mpeft::kernels::fwd_roles {

/// drive of the tile's first `worked` steps; beyond `steps`, the row's end, the state stays as it is. bias: of the
/// thread's channels, those from thread % kRow * kVector on.
template <typename Shape>
__device__ __forceinline__ void prepare_drive(Shared<Shape>& s, int tile, int thread, int worked, int steps,
                                              const float (&bias)[Shape::kVector], bool softplus) {
  constexpr int kVector = Shape::kVector, kRows = Shape::kPrepareWarps * 32 / Shape::kRow, kPairs = Shape::kSteps / 2;
  const int channel = thread % Shape::kRow * kVector, slot = tile % 2;
#pragma unroll
  for (int k = 0; k < (kPairs + kRows - 1) / kRows; ++k) {
    const int pair = thread / Shape::kRow + k * kRows;
    if (2 * pair >= worked) break;
    float4 drive[kVector];
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const int t = 2 * pair + step;
      float u[kVector], raw[kVector], delta[kVector];
      load_floats(u, &s.u[tile % 4][t][channel]);
      load_floats(raw, &s.delta[slot][t][channel]);
      softplus_delta<scalar_t>(delta, nullptr, raw, bias, softplus);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        if (t >= steps) delta[i] = 0.f;
        (step == 0 ? drive[i].x : drive[i].z) = delta[i];
        (step == 0 ? drive[i].y : drive[i].w) = delta[i] * u[i];
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) s.drive[slot][pair][place_in_drive(channel + i)] = drive[i];
  }
}

/// B (times kDeltaUnit) and C of a tile in float.
template <typename Shape>
__device__ __forceinline__ void prepare_states(Shared<Shape>& s, int slot, int thread) {
  constexpr int kSteps = Shape::kSteps, kThreads = Shape::kPrepareWarps * 32;
  constexpr int kItemsB = kSteps / 2 * (Shape::kDState / 2), kItems = kItemsB + kSteps * (Shape::kDState / 4);
#pragma unroll
  for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
    const int i = thread + k * kThreads;
    if (i < kItemsB) {
      constexpr float kUnit = kDeltaUnit<scalar_t>;
      const int pair = i / (Shape::kDState / 2), n = i % (Shape::kDState / 2);
      float first[2], second[2];
      load_floats(first, &s.states[slot][2 * pair][2 * n]);
      load_floats(second, &s.states[slot][2 * pair + 1][2 * n]);
      s.B[slot][pair][n] = make_float4(kUnit * first[0], kUnit * first[1], kUnit * second[0], kUnit * second[1]);
    } else if (kItems % kThreads == 0 || i < kItems) {
      const int t = (i - kItemsB) / (Shape::kDState / 4), n = (i - kItemsB) % (Shape::kDState / 4) * 4;
      float C[4];
      load_floats(C, &s.states[slot][t][Shape::kDState + n]);
      store_floats(&s.C[slot][t][n], C);
    }
  }
}

/// thread: of the role.
template <typename Shape>
__device__ __forceinline__ void prepare(Shared<Shape>& s, const SelectiveScanFwdParams<scalar_t>& p, const Work& w,
                                        int thread, bool state_vectors) {
  constexpr int kVector = Shape::kVector, kSteps = Shape::kSteps, kThreads = Shape::kPrepareWarps * 32;
  constexpr bool kFetches = Shape::kFetchWarps == 0;
  InputSource<Shape, kThreads> inputs(p, w, state_vectors);  // for where no warps fetch
  if constexpr (kFetches) {
    inputs.ask(s, w, 0, thread);
    copy_async_commit();
  }
  const int channel = thread % Shape::kRow * kVector;
  float bias[kVector] = {};
  if (p.delta_bias != nullptr && channel < w.block.channels) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      bias[i] = softplus_bias<scalar_t>(p.delta_bias[w.block.first_channel + channel + i]);
    }
  }
  meet<kBlockBarrier, Shape::kThreads>();
  for (int tile = 0; tile < w.tiles; ++tile) {
    if constexpr (kFetches) {
      copy_async_wait();
      // the role's threads see what each of them fetched, and none of them reads the tile before this one any more;
      // those who finish are done with tile - 3, whose u goes, or tile - 1 would not be called prepared
      meet<kPrepareBarrier, kThreads>();
      inputs.ask(s, w, tile + 1, thread);
      copy_async_commit();
    } else {
      s.fetched[tile % 2].wait_for(tile / 2);
    }
    s.scanned[tile % 2].wait_for(tile / 2 - 1);  // of tile - 2
    prepare_drive(s, tile, thread, worked_steps<Shape>(w, tile), w.length - tile * kSteps, bias, p.delta_softplus);
    prepare_states(s, tile % 2, thread);
    s.finished[tile % 2].wait_for(tile / 2 - 1);
    s.prepared[tile % 2].arrive();
  }
}

}  // namespace mpeft::kernels::fwd_roles
