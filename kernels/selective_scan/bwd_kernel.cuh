#pragma once

// Selective scan, backward, main pass.
//
// Equation: with g_t = dL/dh_t, a_t = exp(delta_t A), v_t = a_t g_t:
//   dy_t = dout_t silu(z_t),   dz_t = dout_t silu'(z_t) (C_t . h_t + D u_t),   g_t = C_t dy_t + v_{t+1}
//   S1 = g_t . B_t,   S2 = v_t . (h_{t-1} A)
//   du_t = D dy_t + delta_t S1,   ddelta_t = (u_t S1 + S2) softplus'(delta_t),   ddelta_bias = sum ddelta
//   dA = sum v_t h_{t-1} delta_t,   dD = sum dy_t u_t,   dB_t = sum over channels of g_t delta_t u_t,   dC_t = ... of
//   dy_t h_t
// Mapping: BwdShape. A block walks a row's kChannels channels backwards in tiles of 16 steps: a warp prepares its own
//   channels (softplus, gate), then takes two halves of 8 steps: each it walks back in time with g_t, and on from the
//   checkpoint before it with h_t (bwd_half.cuh). Sums over a channel's states are shuffles; sums over channels are
//   matrix products (bwd_products.cuh), then shared memory, then partials in the workspace that bwd_sums.cuh adds.
//   Chunks of time run in parallel when channels are few (bwd_carry.cuh).
// Accumulation: float; the factors of dB and dC with 11 significant bits for bfloat16, 22 for the others.
// With kSavedY, y is as the forward rounded it.
// Limits: as the forward's tiled kernel, also dout, du, ddelta, dz.
#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/bwd_carry.cuh"
#include "kernels/selective_scan/bwd_half.cuh"
#include "kernels/selective_scan/bwd_places.cuh"
#include "kernels/selective_scan/bwd_work.cuh"

// defines: selective_scan_bwd_kernel

namespace mpeft::kernels {

template <typename scalar_t, typename Shape, bool kSavedY, bool kWithTerms>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    selective_scan_bwd_kernel(const SelectiveScanBwdParams<scalar_t> p, const BwdPlan plan, float* workspace,
                              const bool state_vectors) {
  constexpr int kTile = Shape::kTile, kSubTile = Shape::kSubTile, kChannels = Shape::kChannels,
                kThreads = Shape::kThreads, kDState = Shape::kDState, kPitch = Shape::kPitch,
                kLane = Shape::kLaneChannels;
  constexpr int kEvery = static_cast<int>(kSelectiveScanCheckpointEvery);
  static_assert(kEvery == kSubTile);
  extern __shared__ __align__(16) char shared_bytes[];
  using Shared = BwdShared<scalar_t, Shape, kSavedY, kWithTerms>;
  auto& s = *reinterpret_cast<Shared*>(shared_bytes);

  const BwdWork work = locate_work<kChannels, kTile>(p, plan);
  const ScanBlock& block = work.block;
  const RowSpan& span = work.span;
  const int64_t part_number = block.row, row = work.row, chunk_end = work.stored_end;
  // blocks with nothing to walk leave zeros for the sums: without loading anything, because they keep a place from a
  // block that has work
  const bool idle = work.idle, whole = work.whole;
  const int length = static_cast<int>(span.length), first = work.first, end = work.end, last_tile = work.last_tile;
  auto clear_padding = [&] {  // of this chunk
    constexpr int kVec = kVectorElements<scalar_t>, kRow = kChannels / kVec;
    const int c = static_cast<int>(threadIdx.x) % kRow * kVec;
    for (int64_t t = max(end, first) + static_cast<int>(threadIdx.x) / kRow; t < chunk_end; t += kThreads / kRow) {
      auto clear = [&](const Sequence<scalar_t>& gradient) {
        if (gradient.data == nullptr || c >= block.channels) return;
        scalar_t* to =
            gradient.data + row_offset(gradient, row, span) + t * gradient.time_stride + block.first_channel + c;
        *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
      };
      clear(p.du);
      clear(p.ddelta);
      clear(p.dz);
    }
  };
  if constexpr (!kHasSpareRegisters) clear_padding();

  const BwdLane<Shape> lane(threadIdx.x);
  auto channel_of = [&](const BwdLane<Shape>& place) { return static_cast<int>(block.first_channel) + place.channel; };
  auto state_start_of = [&](const BwdLane<Shape>& place) {  // in a row's (d_inner, d_state)
    return channel_of(place) * kDState + place.group * 4;
  };

  // asked for before all else: they are on their way while the places below are found
  BwdLaneStates<Shape, kWithTerms> own_states;
  if (lane.channel < block.channels && !idle) {  // both channels of a lane, or none: d_inner is even
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      load_floats(own_states.A[c], p.A + state_start_of(lane) + c * kDState);
      if constexpr (kWithTerms) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          own_states.terms[c][i] = state_terms(p, state_start_of(lane) + c * kDState + i);
        }
      }
    }
  }
  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  const bool gated = p.z.data != nullptr;
  using Copy = TileCopy<kTile, kChannels, kThreads, scalar_t>;
  using StateCopy = TileCopy<kTile, 2 * kDState, kThreads, scalar_t>;
  const int64_t first_checkpoint = first_row_part(p, row, span, kEvery), row_states = p.d_inner * kDState;
  auto fetch_BC = [&](const BwdInputPlaces<scalar_t>& place, int step, int stage) {
    const int steps = min(kTile, end - step);
    if (!state_vectors) {
      fetch_states<kTile, kDState, kThreads>(
          s.states[stage], StateSource<scalar_t>{states.B, states.C, states.B_stride, states.C_stride, false}, step,
          steps);
      return;
    }
    const StateCopy copy(fresh_thread_index());
    if (copy.takes_part()) fetch_own_states<kTile, kDState>(copy, s.states[stage], place.states, states, step, steps);
  };
  auto fetch = [&](const BwdInputPlaces<scalar_t>& place, int step, int stage) {
    const Copy copy(fresh_thread_index());
    if (!copy.takes_part()) return;
    auto channels = [&](scalar_t(&tile)[kTile][kPitch], const scalar_t* source, int64_t time_stride) {
      fetch_own(copy, tile, at_step(source, step, time_stride), time_stride, min(kTile, end - step), block.channels);
    };
    channels(s.delta[stage], place.delta, p.delta.time_stride);
    channels(s.dout[stage], place.dout, p.dout.time_stride);
    if (gated) channels(s.z[stage], place.z, p.z.time_stride);
    channels(s.u[stage], place.u, p.u.time_stride);
    if constexpr (kSavedY) channels(s.y[stage], place.y, p.d_inner);
  };
  auto fetch_checkpoint = [&](int half, int checkpoint, bool wanted) {  // not wanted: zeros, and nothing is read
    const int thread = fresh_thread_index();
    const float* const own = s.checkpoints[thread];
    const float* source = own + checkpoint * row_states;
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      copy_async(&s.h_before[half][c][thread], source + c * kDState, own != nullptr && wanted);
    }
  };

  // The first tile is asked for as soon as its place is known; all other places are found while it is on its way.
  BwdPlaces<scalar_t>& places = s.places[fresh_thread_index()];
  const Copy own_copy(fresh_thread_index());
  if (first < end) {
    const StateCopy state_copy(threadIdx.x);
    BwdInputPlaces<scalar_t> inputs = bwd_input_places(p, row, span, own_copy.t, block.first_channel + own_copy.c);
    inputs.states = place_of_states<kDState>(states, state_copy.t, state_copy.c);
    fetch(inputs, last_tile, 0);
    fetch_BC(inputs, last_tile, 0);
    if (last_tile > first) fetch_BC(inputs, last_tile - kTile, 1);  // B and C are always a tile ahead of the rest
    static_cast<BwdInputPlaces<scalar_t>&>(places) = inputs;
  }
  auto own_parameter = [&](const float* of_channels) {  // of the block's channel threadIdx.x
    const int c = static_cast<int>(threadIdx.x);
    return of_channels != nullptr && c < block.channels && !idle ? of_channels[block.first_channel + c] : 0.f;
  };
  const float D_own = own_parameter(p.D), bias_own = softplus_bias<scalar_t>(own_parameter(p.delta_bias)),
              offset_own = kWithTerms ? own_parameter(p.out_offset) : 0.f;

  let_successor_start();
  if constexpr (!kSavedY) {
    // for bwd_expand.cuh; where time is cut it was complete before the first pass began (launch_tiled)
    if (plan.chunks() == 1) wait_for_predecessor();
  }
  if (first < end) {
    s.checkpoints[threadIdx.x] =
        lane.channel < block.channels ? p.checkpoints + first_checkpoint * row_states + state_start_of(lane) : nullptr;
    const int last_checkpoint = (length - 1) / kEvery;  // there is none before a half beyond the row's end
    fetch_checkpoint(0, last_tile / kEvery, true);
    fetch_checkpoint(1, min(last_tile / kEvery + 1, last_checkpoint), true);
    copy_async_commit();
    place_outputs(places, p, row, span, own_copy.t, block.first_channel + own_copy.c);
    places.dBC = workspace + plan.dBC + (block.first_channel / kChannels * n_tokens(p) + span.first) * 2 * kDState +
                 threadIdx.x * 4;
  }
  if (threadIdx.x < kChannels) {
    s.D[threadIdx.x] = D_own;
    s.bias[threadIdx.x] = bias_own;
    if constexpr (kWithTerms) s.offset[threadIdx.x] = offset_own;
  }
  if (lane.channel < block.channels && !idle) {
    if (plan.chunks() > 1 && !whole) wait_for_predecessor();
    carry_into_chunk(own_states.v, own_states.A, p, plan, workspace,
                     static_cast<int>(plan.first_piece(work.next_chunk)), row, channel_of(lane), lane.group);
  }
  float dD[kLane] = {}, dbias[kLane] = {}, dout_offset[kLane] = {};
  using Half = BwdHalf<scalar_t, Shape, kSavedY, kWithTerms>;
  const Half walker(s, lane);

  int stage = 0;
  if (first < end) {
    copy_async_wait();
    __syncthreads();
    widen_states<kTile, kDState, kThreads>(s.BC[0], s.states[0], 1.f);
  }
#pragma unroll 1
  for (int step = last_tile; step >= first && first < end; step -= kTile, stage ^= 1) {
    const int steps = min(kTile, end - step);
    // What waits for shared memory is loaded early: there are few warps to hide it.
    const BwdPlaces<scalar_t> from = s.places[fresh_thread_index()];
    copy_async_wait();
    __syncthreads();  // this tile's inputs are there, the last one's gradients are stored

    constexpr int kVector = BwdPreparation<Shape>::kVector;
    const BwdPreparation<Shape> own(fresh_thread_index());
    const int t = own.t, c = own.c;
    float bias[kVector];
    RawVector<scalar_t, kVector> raw_delta, raw_u, raw_dout, raw_z, raw_y;
    load_floats(bias, &s.bias[c]);
    raw_delta.load(&s.delta[stage][t][c]);
    raw_u.load(&s.u[stage][t][c]);
    raw_dout.load(&s.dout[stage][t][c]);
    if (gated) raw_z.load(&s.z[stage][t][c]);
    if constexpr (kSavedY) raw_y.load(&s.y[stage][t][c]);

    if (step > first) {
      fetch(from, step - kTile, stage ^ 1);
      if (step - kTile > first) fetch_BC(from, step - 2 * kTile, stage);
      copy_async_commit();
      widen_states<kTile, kDState, kThreads>(s.BC[stage ^ 1], s.states[stage ^ 1], 1.f);
    }

    {
      float u[kVector], delta[kVector], dy[kVector], derivative[kVector], step_sizes[kVector];
      raw_delta.widen(delta);
      softplus_delta<scalar_t>(step_sizes, derivative, delta, bias, p.delta_softplus);
      if (steps < kTile) {  // beyond the end fetched as zeros; the state passes through
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          step_sizes[i] = t < steps ? step_sizes[i] : 0.f;
          derivative[i] = t < steps ? derivative[i] : 0.f;
        }
      }
      raw_u.widen(u);
#pragma unroll
      for (int i = 0; i < kVector; ++i) u[i] *= step_sizes[i] * kDeltaUnit<scalar_t>;
      store_pairs<Shape>(s.step[t], c, step_sizes, u);
      raw_dout.widen(dy);
      if (gated) {
        float z[kVector], dz[kVector];
        raw_z.widen(z);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          const Silu gate = silu<scalar_t>(z[i]);
          dz[i] = dy[i] * gate.derivative;
          dy[i] *= gate.value;
        }
        if constexpr (kSavedY) {
          float y_given[kVector];
          raw_y.widen(y_given);
#pragma unroll
          for (int i = 0; i < kVector; ++i) dz[i] *= y_given[i];
          store_floats(&s.z[stage][t][c], dz);
        } else {
          store_floats(&s.dz_factor[t][c], dz);
        }
      }
      store_pairs<Shape>(s.dy[t], c, dy, derivative);
    }
    __syncwarp();

#pragma unroll 1
    for (int half = 1; half >= 0; --half) {
      const int t0 = half * kSubTile;
      typename Half::StepSums sums;
      walker.walk(own_states, sums, stage, half);
      // The next tile's half takes the place of this one, which has been read: the reads do not move below this line.
      // Without a branch, at which the assembler would put all exponentials before and all else behind it.
      asm volatile("" ::: "memory");
      const int checkpoint = static_cast<int>(static_cast<uint32_t>(step) / kEvery) + half;  // of this half
      fetch_checkpoint(half, checkpoint - kTile / kEvery, step > first);
      copy_async_commit();

      Half::sum(sums);
      if (lane.half == 0) {
        const int kept_step = first_kept_step<Shape>(fresh_thread_index());
        float D[kLane];
        load_floats(D, &s.D[lane.channel]);
#pragma unroll
        for (int j = 0; j < kSubTile / Shape::kGroupsInG; ++j) {
          const int t = t0 + kept_step + j;
          float step_size[kLane], dy[2 * kLane], u[kLane], du[kLane], ddelta[kLane];
          load_floats(step_size, &s.step[t][2 * lane.channel]);
          load_floats(dy, &s.dy[t][2 * lane.channel]);
          load_floats(u, &s.u[stage][t][lane.channel]);
#pragma unroll
          for (int c = 0; c < kLane; ++c) {
            ddelta[c] = fmaf(u[c], sums.S1[j][c], sums.S2[j][c]) * dy[kLane + c];
            du[c] = fmaf(step_size[c] * kDeltaUnit<scalar_t>, sums.S1[j][c], D[c] * dy[c]);
            dD[c] = fmaf(dy[c], u[c], dD[c]);
            dbias[c] += ddelta[c];
            if constexpr (kWithTerms) dout_offset[c] += dy[c];
          }
          store_floats(&s.u[stage][t][lane.channel], du);
          store_floats(&s.delta[stage][t][lane.channel], ddelta);
          if (!kSavedY && gated) {
            float dz[kLane];
            load_floats(dz, &s.dz_factor[t][lane.channel]);
#pragma unroll
            for (int c = 0; c < kLane; ++c) {
              float y_t = fmaf(D[c], u[c], sums.y[j][c]);
              if constexpr (kWithTerms) y_t += s.offset[lane.channel + c];
              dz[c] *= y_t;
            }
            store_floats(&s.z[stage][t][lane.channel], dz);
          }
        }
      }
    }
    const BwdPlaces<scalar_t> to = s.places[fresh_thread_index()];
    __syncthreads();

    constexpr int kQuads = kDState / 2, kItems = kTile * kQuads;
    const int writer = fresh_thread_index();
    float* const dBC = at_step(to.dBC, step, 2 * kDState);
#pragma unroll
    for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
      const int i = writer + k * kThreads, t = i / kQuads, quad = i % kQuads;
      if ((kItems % kThreads == 0 || i < kItems) && t < steps) {
        const int place = dBC_place<Shape>(t % Shape::kProductSteps, quad);
        float4 sum = s.dBC[0][t][place];
#pragma unroll
        for (int other = 1; other < Shape::kWarps * Shape::kPartials; ++other) {
          const float4 x = s.dBC[other][t][place];
          sum = make_float4(sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w);
        }
        __stcg(reinterpret_cast<float4*>(dBC + k * kThreads * 4), sum);
      }
    }
    const Copy copy(writer);
#pragma unroll
    for (int k = 0; k < Copy::kPasses; ++k) {
      const int t = copy.t + k * Copy::kRows;
      if (copy.takes_part() && t < steps && copy.c < block.channels) {
        auto store = [&](scalar_t* gradient, const Sequence<scalar_t>& x, const scalar_t* source) {
          if (x.data == nullptr) return;
          scalar_t* const at = at_step(gradient, step + k * Copy::kRows, x.time_stride);
          __stcg(reinterpret_cast<uint4*>(at), *reinterpret_cast<const uint4*>(source));
        };
        store(to.du, p.du, &s.u[stage][t][copy.c]);
        store(to.ddelta, p.ddelta, &s.delta[stage][t][copy.c]);
        store(to.dz, p.dz, &s.z[stage][t][copy.c]);
      }
    }
  }

  if constexpr (kHasSpareRegisters) clear_padding();

  const int64_t own_part = kHasSpareRegisters ? part_number : fresh_block_row();
  const BwdLane<Shape> place(fresh_thread_index());
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
    auto store = [&](const float* gradient, int64_t partial, float sum) {
#pragma unroll
      for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) sum += __shfl_xor_sync(0xffffffffu, sum, 4 << bit);
      if (gradient == nullptr || place.group != 0 || place.channel >= block.channels) return;
      workspace[partial + own_part * p.d_inner + channel_of(place) + c] = sum;
    };
    store(p.dD, plan.dD, dD[c]);
    store(p.ddelta_bias, plan.dbias, dbias[c]);
    if constexpr (kWithTerms) store(p.dout_offset, plan.dout_offset, dout_offset[c]);
  }
  if (place.channel >= block.channels) return;
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
    const int state_start = state_start_of(place) + c * kDState;
    if (p.dA != nullptr) {
      float scaled[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) scaled[i] = own_states.dA[c][i] * kDeltaUnit<scalar_t>;
      store_floats(workspace + plan.dA + own_part * row_states + state_start, scaled);
    }
    if constexpr (kWithTerms) {
      auto store = [&](const float* gradient, int64_t partial, const float(&sums)[4]) {
        if (gradient != nullptr) store_floats(workspace + partial + own_part * row_states + state_start, sums);
      };
      store(p.dstate_offset, plan.dstate_offset, own_states.dstate_offset[c]);
      store(p.dB_scale, plan.dB_scale, own_states.dB_scale[c]);
      store(p.dB_bias, plan.dB_bias, own_states.dB_bias[c]);
      store(p.dC_scale, plan.dC_scale, own_states.dC_scale[c]);
      store(p.dC_bias, plan.dC_bias, own_states.dC_bias[c]);
    }
    if (p.dinitial_state != nullptr && own_part < p.batch) {  // chunk 0: then it is the row's number too
      store_floats(p.dinitial_state + own_part * row_states + state_start, own_states.v[c]);
    }
  }
}

}  // namespace mpeft::kernels
