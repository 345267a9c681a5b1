#pragma once

// Selective scan, backward, when the forward kept a state every kSelectiveScanCompactEvery steps only: recomputes the
// states every kSelectiveScanCheckpointEvery steps, which the other kernels start from, into the workspace.
//
// Equation: h_t = exp(delta_t A) h_{t-1} + delta_t B'_t u_t from each kept state over the steps to the next one but for
//   the last kSelectiveScanCheckpointEvery, whose states nobody needs.
// Mapping: BwdShape. A block walks one stretch, from a kept state to the next, or three; all blocks run in parallel.
//   For shapes that have no BwdShape a thread takes one state of one stretch.
#include <algorithm>
#include <type_traits>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/scan_math.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: expanded_floats, launch_bwd_expand, launch_bwd_expand_any

namespace mpeft::kernels {
namespace detail {

inline constexpr int kExpandThreads = 256;

/// Blocks of a multiprocessor that bound the registers (an H200 has the shared memory for them): what is fastest with
/// 16 states, with others as many as spill nothing.
template <typename Shape>
inline constexpr int kExpandBlocks = Shape::kDState == 8    ? 3
                                     : Shape::kDState == 16 ? 6
                                                            : 4;

template <typename scalar_t, typename Shape>
struct ExpandShared {
  using tile_t = scalar_t[Shape::kTile][Shape::kPitch];
  tile_t delta[2], u[2];  // two stages: one being used, one being fetched
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  float step[Shape::kTile][Shape::kPairPitch];  // delta in units of kDeltaUnit, delta u: store_pairs
  float B[2][Shape::kTile][Shape::kDState];
};

template <typename scalar_t, typename Shape, bool kWithTerms>
__global__ void __launch_bounds__(Shape::kThreads, kExpandBlocks<Shape>)
    selective_scan_bwd_expand_kernel(const SelectiveScanBwdParams<scalar_t> p, float* expanded, const int block_steps,
                                     const bool state_vectors) {
  constexpr int kTile = Shape::kTile, kChannels = Shape::kChannels, kThreads = Shape::kThreads,
                kDState = Shape::kDState, kLane = Shape::kLaneChannels;
  constexpr int kFine = static_cast<int>(kSelectiveScanCheckpointEvery);
  constexpr int kCoarse = static_cast<int>(kSelectiveScanCompactEvery);
  static_assert(kCoarse == 2 * kTile && kTile == 2 * kFine);
  __shared__ __align__(16) ExpandShared<scalar_t, Shape> s;
  const ScanBlock block = locate_block<kChannels>(p);
  const int64_t row = block.row;
  const RowSpan span = row_span(p, row);
  const int first = static_cast<int>(blockIdx.z) * block_steps;
  const int end = static_cast<int>(min(span.length, int64_t{first} + block_steps));
  if (first >= end) return;
  let_successor_start();
  const BwdLane<Shape> lane(threadIdx.x);
  const bool exists = lane.channel < block.channels;
  const int64_t row_states = p.d_inner * kDState,
                state_start = (block.first_channel + lane.channel) * kDState + lane.group * 4;

  const TileCopy<kTile, kChannels, kThreads, scalar_t> copy(threadIdx.x);
  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  // a stretch has two tiles, one a stage; of the second only the first half is wanted
  auto wanted_steps = [&](int step, int stage) { return min(stage == 0 ? kTile : kFine, end - step); };
  auto fetch_BC = [&](int step, int stage) {  // C comes along, unread
    fetch_states<kTile, kDState, kThreads>(s.states[stage], states, step, wanted_steps(step, stage));
  };
  auto fetch = [&](int step, int stage) {
    const int steps = wanted_steps(step, stage);
    auto channels = [&](scalar_t(&tile)[kTile][Shape::kPitch], const Sequence<const scalar_t>& x) {
      fetch_sequence(copy, tile, x, row, span, step, steps, block);
    };
    if (!copy.takes_part()) return;
    channels(s.delta[stage], p.delta);
    channels(s.u[stage], p.u);
  };
  fetch_BC(first, 0);
  fetch(first, 0);
  copy_async_commit();

  const float* kept =
      p.checkpoints + (first_row_part(p, row, span, kCoarse) + first / kCoarse) * row_states + state_start;
  float* to = expanded + (first_row_part(p, row, span, kFine) + first / kFine) * row_states + state_start;
  float A[kLane][4] = {}, h[kLane][4] = {}, h_next[kLane][4] = {};
  StateTerms terms[kWithTerms ? kLane : 1][4];
  if (exists) {
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      load_floats(A[c], p.A + state_start + c * kDState);
      load_floats(h_next[c], kept + c * kDState);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kWithTerms) terms[c][i] = state_terms(p, state_start + c * kDState + i);
      }
    }
  }
  // of the second tile lanes prepare the first half only, half as much each; all of it where that would be less than a
  // lane's channels (64 states)
  using First = BwdPreparation<Shape>;
  using Second = BwdPreparation<Shape, (BwdPreparation<Shape, kFine>::kVector >= kLane ? kFine : kTile)>;
  const First of_first(threadIdx.x);
  const Second of_second(threadIdx.x);
  float first_bias[First::kVector], second_bias[Second::kVector];
  load_softplus_bias<scalar_t>(first_bias, p.delta_bias, block.first_channel, of_first.c, block.channels);
  load_softplus_bias<scalar_t>(second_bias, p.delta_bias, block.first_channel, of_second.c, block.channels);
  copy_async_wait();
  __syncthreads();
  widen_states<kTile, kDState, kThreads>(s.B[0], s.states[0], 1.f);
  if (first + kTile < end) fetch_BC(first + kTile, 1);  // B is always a tile ahead of the rest
  copy_async_commit();

#pragma unroll 1
  for (int stretch = first; stretch < end; stretch += kCoarse) {
#pragma unroll
    for (int stage = 0; stage < 2; ++stage) {
      const int step = stretch + stage * kTile;
      if (step >= end) break;
      copy_async_wait();
      __syncthreads();  // fetched, and the last tile is used up
      if (step + kTile < end) {
        fetch(step + kTile, stage ^ 1);
        if (step + 2 * kTile < end) fetch_BC(step + 2 * kTile, stage);
        copy_async_commit();
        widen_states<kTile, kDState, kThreads>(s.B[stage ^ 1], s.states[stage ^ 1], 1.f);
      }
      auto prepare = [&](const auto& own, const auto& bias) {
        constexpr int kVector = std::decay_t<decltype(own)>::kVector;
        float delta[kVector], u[kVector], step_sizes[kVector];
        load_floats(delta, &s.delta[stage][own.t][own.c]);
        load_floats(u, &s.u[stage][own.t][own.c]);
        softplus_delta_polynomial<scalar_t>(step_sizes, delta, bias, p.delta_softplus);
#pragma unroll
        for (int i = 0; i < kVector; ++i) u[i] *= step_sizes[i] * kDeltaUnit<scalar_t>;
        store_pairs<Shape>(s.step[own.t], own.c, step_sizes, u);
      };
      if (stage == 0) {
        prepare(of_first, first_bias);
      } else {
        prepare(of_second, second_bias);
      }
      __syncwarp();
      auto store = [&](int half) {  // the state before this half
        if (!exists || step + half * kFine >= end) return;
#pragma unroll
        for (int c = 0; c < kLane; ++c) store_floats(to + half * row_states + c * kDState, h[c]);
      };
      if (stage == 0) {
        kept += row_states;
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) h[c][i] = h_next[c][i];
          if (exists && step + kCoarse < end) load_floats(h_next[c], kept + c * kDState);
        }
      }
#pragma unroll
      for (int half = 0; half < 2 - stage; ++half) {
        store(half);
        // loaded a step ahead; of many orders and shares of polynomials the fastest (README.md)
        float x[kFine][2 * kLane], B[kFine][4];
        auto load = [&](int t) {
          load_floats(x[t], &s.step[half * kFine + t][2 * lane.channel]);
          load_floats(B[t], &s.B[stage][half * kFine + t][lane.group * 4]);
        };
        load(0);
#pragma unroll
        for (int t = 0; t < kFine; ++t) {
          if (t + 1 < kFine) load(t + 1);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int c = 0; c < kLane; ++c) {
              float B_t = B[t][i];
              if constexpr (kWithTerms) B_t = terms[c][i].scaled_B(B_t);
              const float exponent = x[t][c] * A[c][i];
              // the special function unit is near its limit: one in thirty-two of bfloat16's exponentials goes
              // elsewhere, where a lane has two channels
              const bool polynomial =
                  std::is_same_v<scalar_t, __nv_bfloat16> && kLane == 2 && c == 1 && i == 3 && t % 4 == 1;
              const float a = polynomial ? exp2_polynomial<5>(exponent) : decay<scalar_t>(exponent);
              h[c][i] = fmaf(a, h[c][i], x[t][kLane + c] * B_t);
            }
          }
        }
      }
      if (stage == 1) store(1);  // what comes behind it nobody needs
      to += 2 * row_states;
    }
  }
}

/// The row that kept state number `part` of all belongs to.
template <typename scalar_t>
__device__ __forceinline__ int64_t row_of_part(const SelectiveScanInputs<scalar_t>& p, int64_t part, int64_t every) {
  if (p.cu_seqlens == nullptr) return part / ((p.seqlen + every - 1) / every);
  int64_t low = 0, high = p.batch - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (first_row_part(p, middle, row_span(p, middle), every) <= part) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

template <typename scalar_t>
__global__ void __launch_bounds__(kExpandThreads)
    selective_scan_bwd_expand_any_kernel(const SelectiveScanBwdParams<scalar_t> p, const int64_t parts,
                                         float* expanded) {
  constexpr int64_t kFine = kSelectiveScanCheckpointEvery, kCoarse = kSelectiveScanCompactEvery;
  const int64_t row_states = p.d_inner * p.d_state;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kExpandThreads + threadIdx.x;
  const int64_t part = item / row_states;
  if (part >= parts) return;
  const int64_t state = item - part * row_states, channel = state / p.d_state, n = state - channel * p.d_state;
  const int64_t row = row_of_part(p, part, kCoarse);
  const RowSpan span = row_span(p, row);
  const int64_t first = (part - first_row_part(p, row, span, kCoarse)) * kCoarse;
  const int steps = static_cast<int>(min(kCoarse, span.length - first));
  const StateTerms terms = state_terms(p, state);
  const float A = p.A[state], bias = p.delta_bias == nullptr ? 0.f : p.delta_bias[channel];
  const scalar_t* const u = p.u.data + row_offset(p.u, row, span) + first * p.u.time_stride + channel;
  const scalar_t* const delta = p.delta.data + row_offset(p.delta, row, span) + first * p.delta.time_stride + channel;
  const scalar_t* const B = p.B.data + row_offset(p.B, row, span) + first * p.B.time_stride + n;
  float* to = expanded + (first_row_part(p, row, span, kFine) + first / kFine) * row_states + state;
  float h = p.checkpoints[part * row_states + state];
#pragma unroll 4
  for (int t = 0; t < steps; ++t) {
    if (t % kFine == 0) to[t / kFine * row_states] = h;
    const float step = softplus_delta<scalar_t>(to_float(delta[t * p.delta.time_stride]), bias, p.delta_softplus);
    const float drive = step * kDeltaUnit<scalar_t> * to_float(u[t * p.u.time_stride]);
    h = fmaf(decay<scalar_t>(step * A), h, drive * terms.scaled_B(to_float(B[t * p.B.time_stride])));
  }
}

/// How a row's stretches are shared by blocks.
struct Stretches {
  int64_t of_block, pieces;
};

/// One stretch a block, so that all run at once, or three, which hide most of its start, where those are many rounds.
/// blocks: of a multiprocessor.
template <int kChannels, typename scalar_t>
Stretches stretches_of(const SelectiveScanBwdParams<scalar_t>& p, int64_t blocks) {
  constexpr int64_t kManyRounds = 4;
  const int64_t stretches = (p.seqlen + kSelectiveScanCompactEvery - 1) / kSelectiveScanCompactEvery;
  const int64_t all_stretches = n_row_parts(p.batch, p.seqlen, p.cu_seqlens != nullptr, kSelectiveScanCompactEvery);
  const int64_t all_blocks = all_stretches * ((p.d_inner + kChannels - 1) / kChannels);
  const int64_t wanted = all_blocks <= kManyRounds * multiprocessors() * blocks ? 1 : 3;
  const int64_t of_block = std::max(wanted, (stretches + kMaxGridRows - 1) / kMaxGridRows);
  return {of_block, (stretches + of_block - 1) / of_block};
}

}  // namespace detail

/// What the expanded states take of the workspace; 0: the forward kept them all.
template <typename scalar_t>
int64_t expanded_floats(const SelectiveScanBwdParams<scalar_t>& p) {
  if (p.checkpoint_every != kSelectiveScanCompactEvery) return 0;
  return n_row_parts(p.batch, p.seqlen, p.cu_seqlens != nullptr, kSelectiveScanCheckpointEvery) * p.d_inner * p.d_state;
}

template <typename Shape, bool kWithTerms, typename scalar_t>
cudaError_t launch_bwd_expand(const SelectiveScanBwdParams<scalar_t>& p, float* expanded, bool state_vectors,
                              cudaStream_t stream) {
  const detail::Stretches stretches = detail::stretches_of<Shape::kChannels>(p, detail::kExpandBlocks<Shape>);
  if (stretches.pieces == 0) return cudaSuccess;
  detail::selective_scan_bwd_expand_kernel<scalar_t, Shape, kWithTerms>
      <<<scan_grid(p.batch, p.d_inner, Shape::kChannels, static_cast<int>(stretches.pieces)), Shape::kThreads, 0,
         stream>>>(p, expanded, static_cast<int>(stretches.of_block * kSelectiveScanCompactEvery), state_vectors);
  return cudaGetLastError();
}

template <typename scalar_t>
cudaError_t launch_bwd_expand_any(const SelectiveScanBwdParams<scalar_t>& p, float* expanded, cudaStream_t stream) {
  const int64_t parts = n_row_parts(p.batch, p.seqlen, p.cu_seqlens != nullptr, kSelectiveScanCompactEvery);
  const int64_t blocks = (parts * p.d_inner * p.d_state + detail::kExpandThreads - 1) / detail::kExpandThreads;
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT32_MAX) return cudaErrorInvalidValue;
  detail::selective_scan_bwd_expand_any_kernel<scalar_t>
      <<<static_cast<unsigned>(blocks), detail::kExpandThreads, 0, stream>>>(p, parts, expanded);
  return cudaGetLastError();
}

}  // namespace mpeft::kernels
