#pragma once

// Selective scan, forward, for bfloat16 and 16 states: the products delta u B and C . h by the matrix unit.
//
// Equation and layouts: selective_scan_params.h.
// Mapping: a warp has 16 neighbouring channels of a row. Lane l, (g, t) = (l / 4, l % 4), holds the states 4 t .. 4 t +
// 3 of channels 2 g and 2 g + 1, and walks time in groups of 8 steps, of which it prepares and finishes steps 2 t and
// 2 t + 1 of its two channels: as the products' operands and results lie in the registers, nothing moves between lanes
// but delta (through shared memory).
//   kTimeWarps 1: the warp walks all of the row and prepares a group while the one before it is in the recurrence.
//   Else the channels' warps take groups in turn. With h_s = g_s + q_s, where g starts from 0 and q from the state
//   before the group but without input, a warp finds g (and keeps the decays in registers) without the others; once the
//   warp before it hands on the state, it hands on its own last one and then finds q, C . q and what remains.
// Accumulation: float. delta u comes in two parts of 8 bits; h is cut to 11 bits in C . h (fwd_matrix_group.cuh).
// Limits: 16 states, gate and softplus, no terms; u, delta, z, B, C, out and y on 16-byte boundaries;
// d_inner a multiple of 8, at most kFwdMatrixMaxDInner.
#include "kernels/selective_scan/fwd_matrix_group.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: kFwdMatrixMaxDInner, selective_scan_fwd_matrix_kernel

namespace mpeft::kernels {

inline constexpr int64_t kFwdMatrixMaxDInner = int64_t{1} << 25;  // 32-bit distance of kept states

namespace fwd_matrix {

/// Blocks a multiprocessor. From sm_100 on the compiler needs more registers than three blocks of four warps leave.
template <typename Shape>
constexpr int blocks() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  return Shape::kBlocks < 3 || Shape::kTimeWarps == 1 ? Shape::kBlocks : 2;
#else
  return Shape::kBlocks;
#endif
}

template <typename Shape>
struct WarpShared {
  Tile<Shape> tiles[2];
  float deltas[Shape::kTimeWarps == 1 ? 2 : 1][4][8][4];  // [][t][g][step, channel]
  float4 state[Shape::kTimeWarps == 1 ? 1 : 2][32];       // [channel][lane]: from the warp before
};

/// The 8 steps' deltas of a lane's two channels.
__device__ __forceinline__ void load_deltas(float (&delta)[4][4], const float (&deltas)[4][8][4], int g) {
#pragma unroll
  for (int i = 0; i < 4; ++i) load_floats(delta[i], deltas[i][g]);
}

}  // namespace fwd_matrix

template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, fwd_matrix::blocks<Shape>())
    selective_scan_fwd_matrix_kernel(const SelectiveScanFwdParams<__nv_bfloat16> p) {
  using namespace fwd_matrix;
  constexpr int kTimeWarps = Shape::kTimeWarps, kGroups = Shape::kGroups, kPolynomials = Shape::kPolynomials;
  constexpr int kAhead = 2;                           // steps between a decay and its use
  constexpr int kRound = Shape::kSteps * kTimeWarps;  // from a warp's tile to its next
  __shared__ WarpShared<Shape> shared[Shape::kWarps];

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
  const int time_warp = warp % kTimeWarps;
  const int64_t row = blockIdx.y;
  const RowSpan span = row_span(p, row);
  const int length = static_cast<int>(span.length);
  const int64_t first_channel = (int64_t{blockIdx.x} * Shape::kSets + warp / kTimeWarps) * Shape::kWarpChannels;
  if (first_channel >= p.d_inner) return;
  const int64_t channel = first_channel + 2 * g;
  const bool exists = channel < p.d_inner;
  const int stored_length = exists ? length : INT32_MIN / 2;
  WarpShared<Shape>& own = shared[warp];

  TileFetch<Shape> fetch(p, row, span, own.tiles, first_channel, time_warp * Shape::kSteps, lane);
  fetch.template next<kRound>(p, lane, true);
  fetch.template next<kRound>(p, lane, false);

  const int64_t state_at = channel * Shape::kDState + 4 * t;
  float A[2][4] = {}, h[2][4] = {}, bias[2] = {}, D[2] = {};
#pragma unroll
  for (int c = 0; c < 2 && exists; ++c) {
    load_floats(A[c], p.A + state_at + c * Shape::kDState);
    if (p.initial_state != nullptr) {
      load_floats(h[c], p.initial_state + row * p.initial_state_batch_stride + state_at + c * Shape::kDState);
    }
    if (p.delta_bias != nullptr) bias[c] = softplus_bias<__nv_bfloat16>(p.delta_bias[channel + c]);
    if (p.D != nullptr) D[c] = p.D[channel + c];
  }
  Results results(p, row, span, channel, time_warp * Shape::kSteps + 2 * t, t);
  auto store_last_state = [&](const float(&state)[2][4]) {
    if (p.last_state == nullptr || !exists) return;
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      store_floats(p.last_state + row * p.d_inner * Shape::kDState + state_at + c * Shape::kDState, state[c]);
    }
  };

  TilePlaces<Shape> tile(own.tiles[0], g, t);
  bool first_tile = true;
  if constexpr (kTimeWarps == 1) {
    Group group{};
    int slot = 0, k = 0;  // of deltas; of the tile's groups
    wait_for_older_copies();
    __syncwarp();
    group.prepare(tile, own.deltas[0][t][g], bias, length, t);
    __syncwarp();
    for (int first = 0; first < length; first += 8, slot ^= 1) {
      const TilePlaces<Shape> here = tile;
      tile.next_group();
      if (++k == kGroups) {
        copy_async_wait();
        __syncwarp();
        tile.next_tile(first_tile);
      }
      float delta[4][4];
      load_deltas(delta, own.deltas[slot], g);
      results.keep(h, first);
      Group next{};
      next.prepare(tile, own.deltas[slot ^ 1][t][g], bias, length - first - 8, t);

      float a[8][2][4], y[2][2];
#pragma unroll
      for (int s = 0; s < kAhead; ++s) decays<kPolynomials>(a[s], A, &delta[s / 2][s % 2 * 2], s);
#pragma unroll
      for (int s = 0; s < 8; ++s) {
        constexpr int kLast = 8 - kAhead;
        if (s < kLast) decays<kPolynomials>(a[s + kAhead], A, &delta[(s + kAhead) / 2][s % 2 * 2], s + kAhead);
        float xB[2][4];
        group.outer_product(xB, s, t);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) h[c][i] = fmaf(a[s][c][i], h[c][i], xB[c][i]);
        }
        group.template output<false>(y, h, s, t);
      }
      results.store(here, group, y, D, stored_length - first, t);
      results.advance(8);
      group = next;
      __syncwarp();
      if (k == kGroups) {  // the tile just finished makes room
        fetch.template next<kRound>(p, lane, first_tile);
        first_tile = !first_tile;
        k = 0;
      }
    }
    store_last_state(h);
  } else {
    for (int first = time_warp * 8; first < length; first += kRound) {
      wait_for_older_copies();
      __syncwarp();
      Group group{};
      group.prepare(tile, own.deltas[0][t][g], bias, length - first, t);
      __syncwarp();
      float delta[4][4];
      load_deltas(delta, own.deltas[0], g);

      float a[8][2][4], y[2][2], end[2][4];
#pragma unroll
      for (int s = 0; s < 8; ++s) decays<kPolynomials>(a[s], A, &delta[s / 2][s % 2 * 2], s);
#pragma unroll
      for (int s = 0; s < 8; ++s) {
        float xB[2][4];
        group.outer_product(xB, s, t);
#pragma unroll
        for (int c = 0; c < 2; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) end[c][i] = s == 0 ? xB[c][i] : fmaf(a[s][c][i], end[c][i], xB[c][i]);
        }
        group.template output<false>(y, end, s, t);
      }
      float after[2][4];  // first the decay over the group, then the state after it
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float sum = 0.f;
#pragma unroll
        for (int i = 0; i < 4; ++i) sum += delta[i][c] + delta[i][2 + c];
#pragma unroll
        for (int i = 0; i < 4; ++i) after[c][i] = exp2_approx(sum * A[c][i]);
      }
      if (first > 0) {  // the warp before this one arrives at the barrier when it has left the state
        asm volatile("bar.sync %0, 64;" ::"r"(warp) : "memory");
#pragma unroll
        for (int c = 0; c < 2; ++c) load_floats(h[c], &own.state[c][lane].x);
      }
#pragma unroll
      for (int c = 0; c < 2; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) after[c][i] = fmaf(after[c][i], h[c][i], end[c][i]);
      }
      if (first + 8 < length) {
        const int to = time_warp == kTimeWarps - 1 ? warp - (kTimeWarps - 1) : warp + 1;
#pragma unroll
        for (int c = 0; c < 2; ++c) store_floats(&shared[to].state[c][lane].x, after[c]);
        asm volatile("bar.arrive %0, 64;" ::"r"(to) : "memory");
      } else {
        store_last_state(after);
      }
      results.keep(h, first);
#pragma unroll
      for (int s = 0; s < 8; ++s) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) a[s][c][i] *= s == 0 ? h[c][i] : a[s - (s > 0)][c][i];
        }
      }
#pragma unroll
      for (int s = 0; s < 8; ++s) group.template output<true>(y, a[s], s, t);
      results.store(tile, group, y, D, stored_length - first, t);
      results.advance(kRound);
      __syncwarp();
      fetch.template next<kRound>(p, lane, first_tile);
      tile.next_group();
      tile.next_tile(first_tile);
      first_tile = !first_tile;
    }
    if (length == 0 && time_warp == 0) store_last_state(h);
  }
  copy_async_wait();

  const RowSpan padded = row_span(p, row);  // anew: it would live in registers all along
  const float zeros[2] = {};
  for (int64_t step = length + time_warp * 4 + t; exists && step < padded.stored; step += 4 * kTimeWarps) {
    store_floats(p.out + (padded.first + step) * p.d_inner + channel, zeros);
  }
}

}  // namespace mpeft::kernels
