#pragma once

#include "kernels/selective_scan/fwd_roles_fetch.cuh"
#include "kernels/selective_scan/fwd_walk.cuh"
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
    // both steps together: what one waits for, the other fills
    float u[2][kVector], raw[2 * kVector], delta[2 * kVector], biases[2 * kVector];
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      load_floats(u[step], &s.u[tile % 4][2 * pair + step][channel]);
      float x[kVector];
      load_floats(x, &s.delta[slot][2 * pair + step][channel]);
#pragma unroll
      for (int i = 0; i < kVector; ++i) raw[step * kVector + i] = x[i], biases[step * kVector + i] = bias[i];
    }
    if constexpr (Shape::kPolynomialSoftplus) {
      softplus_delta_polynomial<scalar_t>(delta, raw, biases, softplus);
    } else {
      softplus_delta<scalar_t>(delta, nullptr, raw, biases, softplus);
    }
    float4 drive[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float first = 2 * pair < steps ? delta[i] : 0.f, second = 2 * pair + 1 < steps ? delta[kVector + i] : 0.f;
      drive[i] = make_float4(first, first * u[0][i], second, second * u[1][i]);
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) s.drive[slot][pair][place_in_drive(channel + i)] = drive[i];
  }
}

/// B (times kDeltaUnit) and C of a tile in float.
template <typename Shape>
__device__ __forceinline__ void prepare_states(Shared<Shape>& s, int slot, int thread) {
  constexpr int kSteps = Shape::kSteps, kDState = Shape::kDState, kThreads = Shape::kPrepareWarps * 32;
  constexpr int kItems = kSteps * (kDState / 4), kEach = (kItems + kThreads - 1) / kThreads;  // of B, and of C
  static_assert(kSteps / 2 * (kDState / 2) == kItems);
  auto is_item = [](int i) { return kItems % kThreads == 0 || i < kItems; };
  // loads before stores: what one waits for, the next ones fill
  float first[kEach][2], second[kEach][2], C[kEach][4];
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int i = thread + k * kThreads, pair = i / (kDState / 2), n = i % (kDState / 2) * 2;
    if (!is_item(i)) break;
    load_floats(first[k], &s.states[slot][2 * pair][n]);
    load_floats(second[k], &s.states[slot][2 * pair + 1][n]);
    load_floats(C[k], &s.states[slot][i / (kDState / 4)][kDState + i % (kDState / 4) * 4]);
  }
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int i = thread + k * kThreads;
    if (!is_item(i)) break;
    constexpr float kUnit = kDeltaUnit<scalar_t>;
    s.B[slot][i / (kDState / 2)][i % (kDState / 2)] =
        make_float4(kUnit * first[k][0], kUnit * first[k][1], kUnit * second[k][0], kUnit * second[k][1]);
    const int step = i / (kDState / 4), n = i % (kDState / 4) * 4;
    store_floats(&s.C[slot][step][fwd_walk::place_in_C<Shape::kWalk == RolesWalk::kGroupAhead>(step, n)], C[k]);
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
