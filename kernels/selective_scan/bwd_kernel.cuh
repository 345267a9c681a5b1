#pragma once

// Selective scan, backward, main pass.
//
// Equation: with g_t = dL/dh_t, a_t = exp(delta_t A), v_t = a_t g_t:
//   dy_t = dout_t silu(z_t),   dz_t = dout_t silu'(z_t) (C_t . h_t + D u_t),   g_t = C_t dy_t + v_{t+1}
//   S1 = g_t . B_t,   S2 = v_t . (h_{t-1} A)
//   du_t = D dy_t + delta_t S1,   ddelta_t = (u_t S1 + S2) softplus'(delta_t),   ddelta_bias = sum ddelta
//   dA = sum v_t h_{t-1} delta_t,   dD = sum dy_t u_t,   dB_t = sum over channels of g_t delta_t u_t,   dC_t = ... of
//   dy_t h_t
// Mapping: BwdShape. A block walks a row's kChannels channels backwards in tiles of 16 steps, each in two halves of 8:
// from the
//   checkpoint before the half it recomputes a_t and h_t into registers, then goes back through them. Sums over a
//   channel's states are shuffles; sums over channels are matrix products with a 0/1 matrix, then shared memory, then
//   partials in the workspace that bwd_sums.cuh adds. Chunks of time run in parallel when channels are few
//   (bwd_carry.cuh).
// Accumulation: float; dB and dC terms with 11 significant bits for bfloat16, 22 for the others.
// With kSavedY, y is as the forward rounded it.
// Limits: as the forward's tiled kernel, also dout, du, ddelta, dz.
#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/bwd_carry.cuh"

// defines: selective_scan_bwd_kernel

namespace mpeft::kernels {

/// kSavedY: y comes from the forward, not from states recomputed here. kWithTerms: has_state_terms, or an out_offset.
template <typename scalar_t, typename Shape, bool kSavedY, bool kWithTerms>
struct BwdShared {
  using tile_t = scalar_t[Shape::kTile][Shape::kPitch];
  using pairs_t = float[Shape::kTile][Shape::kPairPitch];
  // Two stages: one being used, one being fetched. Once a stage is prepared, it takes the gradients.
  tile_t delta[2], z[2], dout[2], u[2], y[kSavedY ? 2 : 1];
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  pairs_t step;  // delta in units of kDeltaUnit, delta u: store_pairs
  pairs_t dy;    // dy, derivative of softplus
  float dz_factor[kSavedY ? 1 : Shape::kTile][Shape::kChannels + 4];  // dout silu'(z)
  float bias[Shape::kChannels], D[Shape::kChannels], offset[kWithTerms ? Shape::kChannels : 4];
  float BC[2][Shape::kTile][2 * Shape::kDState];
  float4 h_before[2][Shape::kLaneChannels][Shape::kThreads];  // a lane's own: the states before the tile's halves
  float4 dBC[Shape::kWarps * Shape::kPartials][Shape::kTile][Shape::kDState / 2];  // swizzled: dBC_place
};

/// Place of a float4 in a row of BwdShared::dBC, so that the lanes of a warp write to different banks.
template <typename Shape>
__device__ __forceinline__ int dBC_place(int t, int quad) {
  if constexpr (Shape::kDState == 8) return quad ^ (t & 2);
  const int tig = t % Shape::kProductSteps * Shape::kHalves + (quad >> 3) % Shape::kHalves;
  return quad ^ (tig << 1);
}

/// Adds over the lanes of a channel, values[t][c] being this lane's part of step t. Afterwards values[0 .. kKept) are
/// the sums of the steps from first_kept_step.
template <typename Shape>
__device__ __forceinline__ void sum_over_states(float (&values)[Shape::kSubTile][Shape::kLaneChannels]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    const int kept = Shape::kSubTile >> (bit + 1);
    const bool upper = (lane >> (2 + bit)) & 1;
#pragma unroll
    for (int j = 0; j < kept; ++j) {
#pragma unroll
      for (int c = 0; c < Shape::kLaneChannels; ++c) {
        const float send = upper ? values[j][c] : values[j + kept][c];
        const float keep = upper ? values[j + kept][c] : values[j][c];
        values[j][c] = keep + __shfl_xor_sync(0xffffffffu, send, 4 << bit);
      }
    }
  }
  if constexpr (Shape::kHalves == 2) {
#pragma unroll
    for (int c = 0; c < Shape::kLaneChannels; ++c) values[0][c] += __shfl_xor_sync(0xffffffffu, values[0][c], 1);
  }
}

/// First step of those that sum_over_states leaves in this lane.
template <typename Shape>
__device__ __forceinline__ int first_kept_step(int thread) {
  int step = 0;
#pragma unroll
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    step += ((thread % 32) >> (2 + bit) & 1) * (Shape::kSubTile >> (bit + 1));
  }
  return step;
}

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

  const ScanBlock block = locate_block<kChannels>(p);
  const int64_t row = block.row;
  const int chunk = blockIdx.z;
  const RowSpan span = row_span(p, row);
  const int length = static_cast<int>(span.length);
  const int first = static_cast<int>(chunk * plan.chunk_steps);
  const int64_t chunk_end = min(span.stored, first + plan.chunk_steps);
  const int end = min(length, static_cast<int>(chunk_end));
  const BwdLane<Shape> lane(threadIdx.x);
  auto channel_of = [&](const BwdLane<Shape>& place) { return static_cast<int>(block.first_channel) + place.channel; };
  auto state_start_of = [&](const BwdLane<Shape>& place) {  // in a row's (d_inner, d_state)
    return channel_of(place) * kDState + place.group * 4;
  };

  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  const bool gated = p.z.data != nullptr;
  const Sequence<const scalar_t> y{p.y, p.cu_seqlens == nullptr ? p.seqlen * p.d_inner : 0, p.d_inner};
  auto fetch_BC = [&](int step, int stage) {
    fetch_states<kTile, kDState, kThreads>(s.states[stage], states, step, min(kTile, end - step));
  };
  auto fetch = [&](int step, int stage) {
    const TileCopy<kTile, kChannels, kThreads, scalar_t> copy(fresh_thread_index());
    const int steps = min(kTile, end - step);
    auto channels = [&](scalar_t(&tile)[kTile][kPitch], const Sequence<const scalar_t>& x) {
      fetch_channels(copy, tile, x.data + (row_offset(x, row, span) + step * x.time_stride + block.first_channel),
                     static_cast<int>(x.time_stride), steps, block.channels);
    };
    if (copy.takes_part()) {
      channels(s.delta[stage], p.delta);
      if (gated) channels(s.z[stage], p.z);
      channels(s.dout[stage], p.dout);
      channels(s.u[stage], p.u);
      if constexpr (kSavedY) {
        channels(s.y[stage], y);
      }
    }
  };
  const int64_t first_checkpoint = first_row_part(p, row, span, kEvery), row_states = p.d_inner * kDState;
  const int last_checkpoint = (length - 1) / kEvery;
  auto fetch_checkpoints = [&](int step) {
    const int thread = fresh_thread_index();
    const BwdLane<Shape> place(thread);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int kept = min(step / kEvery + half, last_checkpoint);
      const float* source = p.checkpoints + (first_checkpoint + kept) * row_states + state_start_of(place);
#pragma unroll
      for (int c = 0; c < kLane; ++c) {
        detail::copy_async(&s.h_before[half][c][thread], source + c * kDState, place.channel < block.channels);
      }
    }
  };
  const int last_tile = first + (end - first - 1) / kTile * kTile;

  float A[kLane][4] = {}, v[kLane][4] = {}, dA[kLane][4] = {};
  StateTerms terms[kWithTerms ? kLane : 1][4];
  float dstate_offset[kLane][4] = {}, dB_scale[kLane][4] = {}, dB_bias[kLane][4] = {}, dC_scale[kLane][4] = {},
        dC_bias[kLane][4] = {};
  let_successor_start();
  if (first < end) {
    fetch_checkpoints(last_tile);
    fetch_BC(last_tile, 0);
    fetch(last_tile, 0);
    copy_async_commit();
  }
  if (threadIdx.x < kChannels) {
    const int c = static_cast<int>(threadIdx.x);
    s.D[c] = p.D != nullptr && c < block.channels ? p.D[block.first_channel + c] : 0.f;
    const bool with_bias = p.delta_bias != nullptr && c < block.channels;
    s.bias[c] = with_bias ? softplus_bias<scalar_t>(p.delta_bias[block.first_channel + c]) : 0.f;
    if constexpr (kWithTerms) {
      s.offset[c] = p.out_offset != nullptr && c < block.channels ? p.out_offset[block.first_channel + c] : 0.f;
    }
  }
  if (lane.channel < block.channels) {  // both channels of a lane, or none: d_inner is even
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      load_floats(A[c], p.A + state_start_of(lane) + c * kDState);
      if constexpr (kWithTerms) {
#pragma unroll
        for (int i = 0; i < 4; ++i) terms[c][i] = state_terms(p, state_start_of(lane) + c * kDState + i);
      }
    }
    if (plan.chunks > 1) wait_for_predecessor();
#pragma unroll
    for (int c = 0; c < kLane; ++c) {
      carry_into_chunk(v[c], A[c], p, plan, workspace, chunk, row, channel_of(lane) + c, lane.group);
    }
  }
  float dD[kLane] = {}, dbias[kLane] = {}, dout_offset[kLane] = {};
  // column 2 (step, half) + {0, 1} of the result: states 0 and 1, or 2 and 3, of this lane's group
  float selector[Shape::kProductSteps][2];
#pragma unroll
  for (int q = 0; q < Shape::kProductSteps; ++q) {
    const int column = 2 * (q * Shape::kHalves + lane.half);
    selector[q][0] = lane.g == column ? 1.f : 0.f;
    selector[q][1] = lane.g == column + 1 ? 1.f : 0.f;
  }

  int stage = 0;
  if (first < end) {
    copy_async_wait();
    __syncthreads();
    widen_states<kTile, kDState, kThreads>(s.BC[0], s.states[0], 1.f);
    if (last_tile > first) fetch_BC(last_tile - kTile, 1);  // B and C are always a tile ahead of the rest
    copy_async_commit();
  }
#pragma unroll 1
  for (int step = last_tile; step >= first && first < end; step -= kTile, stage ^= 1) {
    const int steps = min(kTile, end - step);
    copy_async_wait();
    __syncthreads();  // this tile's inputs are there, the last one's gradients are stored
    if (step > first) {
      fetch(step - kTile, stage ^ 1);
      if (step - kTile > first) fetch_BC(step - 2 * kTile, stage);
      copy_async_commit();
      widen_states<kTile, kDState, kThreads>(s.BC[stage ^ 1], s.states[stage ^ 1], 1.f);
    }

    {
      constexpr int kVector = BwdPreparation<Shape>::kVector;
      const BwdPreparation<Shape> own(fresh_thread_index());
      const int t = own.t, c = own.c;
      float u[kVector], delta[kVector], dy[kVector], bias[kVector], derivative[kVector], step_sizes[kVector];
      load_floats(bias, &s.bias[c]);
      load_floats(delta, &s.delta[stage][t][c]);
      softplus_delta<scalar_t>(step_sizes, derivative, delta, bias, p.delta_softplus);
      if (t >= steps) {  // fetched as zeros; the state passes through
#pragma unroll
        for (int i = 0; i < kVector; ++i) step_sizes[i] = derivative[i] = 0.f;
      }
      load_floats(u, &s.u[stage][t][c]);
#pragma unroll
      for (int i = 0; i < kVector; ++i) u[i] *= step_sizes[i] * kDeltaUnit<scalar_t>;
      store_pairs<Shape>(s.step[t], c, step_sizes, u);
      load_floats(dy, &s.dout[stage][t][c]);
      if (gated) {
        float z[kVector], dz[kVector];
        load_floats(z, &s.z[stage][t][c]);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          const Silu gate = silu<scalar_t>(z[i]);
          dz[i] = dy[i] * gate.derivative;
          dy[i] *= gate.value;
        }
        if constexpr (kSavedY) {
          float y_given[kVector];
          load_floats(y_given, &s.y[stage][t][c]);
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

    float a[kSubTile][kLane][4], h[kSubTile + 1][kLane][4];
#pragma unroll 1
    for (int half = 1; half >= 0; --half) {
      const int t0 = half * kSubTile;
#pragma unroll
      for (int c = 0; c < kLane; ++c) load_floats(h[0][c], &s.h_before[half][c][threadIdx.x].x);
#pragma unroll
      for (int t = 0; t < kSubTile; ++t) {
        float x[2 * kLane], B[4];  // delta, delta u
        load_floats(x, &s.step[t0 + t][2 * lane.channel]);
        load_floats(B, &s.BC[stage][t0 + t][lane.group * 4]);
#pragma unroll
        for (int c = 0; c < kLane; ++c) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            a[t][c][i] = decay<scalar_t>(x[c] * A[c][i]);
            float B_t = B[i];
            if constexpr (kWithTerms) B_t = terms[c][i].scaled_B(B_t);
            h[t + 1][c][i] = fmaf(a[t][c][i], h[t][c][i], x[kLane + c] * B_t);
          }
        }
      }

      if (half == 0 && step > first) {  // both are used up: read, and the reads not moved below this line
        asm volatile("" ::: "memory");
        fetch_checkpoints(step - kTile);
        copy_async_commit();
      }

      float S1[kSubTile][kLane], S2[kSubTile][kLane], y_sums[kSubTile][kLane];
#pragma unroll
      for (int product = kSubTile / Shape::kProductSteps - 1; product >= 0; --product) {
        float dB_sums[4] = {}, dC_sums[4] = {};
#pragma unroll
        for (int q = Shape::kProductSteps - 1; q >= 0; --q) {
          const int t = product * Shape::kProductSteps + q;
          float x[2 * kLane], dy[kLane], B[4], C[4], dB_terms[4], dC_terms[4];
          load_floats(x, &s.step[t0 + t][2 * lane.channel]);
          load_floats(dy, &s.dy[t0 + t][2 * lane.channel]);
          load_floats(B, &s.BC[stage][t0 + t][lane.group * 4]);
          load_floats(C, &s.BC[stage][t0 + t][kDState + lane.group * 4]);
#pragma unroll
          for (int c = 0; c < kLane; ++c) {
            S1[t][c] = S2[t][c] = y_sums[t][c] = 0.f;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              float B_t = B[i], C_t = C[i], read = h[t + 1][c][i];
              if constexpr (kWithTerms) {
                B_t = terms[c][i].scaled_B(B_t);
                C_t = terms[c][i].scaled_C(C_t);
                read += terms[c][i].offset;
              }
              const float g = fmaf(dy[c], C_t, v[c][i]);
              v[c][i] = a[t][c][i] * g;
              const float vh = v[c][i] * h[t][c][i];
              S1[t][c] = fmaf(g, B_t, S1[t][c]);
              S2[t][c] = fmaf(vh, A[c][i], S2[t][c]);
              if constexpr (!kSavedY) y_sums[t][c] = fmaf(C_t, read, y_sums[t][c]);
              dA[c][i] = fmaf(vh, x[c], dA[c][i]);
              if constexpr (kWithTerms) {  // of B' and C' until here
                float dB_term = g * x[kLane + c], dC_term = read * dy[c];
                dstate_offset[c][i] = fmaf(dy[c], C_t, dstate_offset[c][i]);
                dB_scale[c][i] = fmaf(dB_term, B[i], dB_scale[c][i]);
                dB_bias[c][i] += dB_term;
                dC_scale[c][i] = fmaf(dC_term, C[i], dC_scale[c][i]);
                dC_bias[c][i] += dC_term;
                dB_term *= terms[c][i].B_scale;
                dC_term *= terms[c][i].C_scale;
                dB_terms[i] = c == 0 ? dB_term : dB_terms[i] + dB_term;
                dC_terms[i] = c == 0 ? dC_term : dC_terms[i] + dC_term;
              } else {
                dB_terms[i] = c == 0 ? g * x[kLane + c] : fmaf(g, x[kLane + c], dB_terms[i]);
                dC_terms[i] = c == 0 ? read * dy[c] : fmaf(read, dy[c], dC_terms[i]);
              }
            }
          }
          add_channels<scalar_t>(dB_sums, dB_terms, selector[q][0], selector[q][1]);
          add_channels<scalar_t>(dC_sums, dC_terms, selector[q][0], selector[q][1]);
        }
        // the lane's sums: step tig / kHalves, its own state group
        const int t = t0 + product * Shape::kProductSteps + lane.tig / Shape::kHalves;
        auto& sums = s.dBC[threadIdx.x / 32 * Shape::kPartials + lane.partial][t];
        sums[dBC_place<Shape>(t, lane.group)] = make_float4(dB_sums[0], dB_sums[2], dB_sums[1], dB_sums[3]);
        sums[dBC_place<Shape>(t, Shape::kGroups + lane.group)] =
            make_float4(dC_sums[0], dC_sums[2], dC_sums[1], dC_sums[3]);
      }
      sum_over_states<Shape>(S1);
      sum_over_states<Shape>(S2);
      if constexpr (!kSavedY) sum_over_states<Shape>(y_sums);
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
            ddelta[c] = fmaf(u[c], S1[j][c], S2[j][c]) * dy[kLane + c];
            du[c] = fmaf(step_size[c] * kDeltaUnit<scalar_t>, S1[j][c], D[c] * dy[c]);
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
              float y_t = fmaf(D[c], u[c], y_sums[j][c]);
              if constexpr (kWithTerms) y_t += s.offset[lane.channel + c];
              dz[c] *= y_t;
            }
            store_floats(&s.z[stage][t][lane.channel], dz);
          }
        }
      }
    }
    __syncthreads();

    float* const dBC =
        workspace + plan.dBC + (block.first_channel / kChannels * n_tokens(p) + span.first + step) * 2 * kDState;
    constexpr int kQuads = kDState / 2, kItems = kTile * kQuads;
    const int writer = fresh_thread_index();
#pragma unroll
    for (int k = 0; k < (kItems + kThreads - 1) / kThreads; ++k) {
      const int i = writer + k * kThreads, t = i / kQuads, quad = i % kQuads;
      if ((kItems % kThreads == 0 || i < kItems) && t < steps) {
        float4 sum = s.dBC[0][t][dBC_place<Shape>(t, quad)];
#pragma unroll
        for (int part = 1; part < Shape::kWarps * Shape::kPartials; ++part) {
          const float4 x = s.dBC[part][t][dBC_place<Shape>(t, quad)];
          sum = make_float4(sum.x + x.x, sum.y + x.y, sum.z + x.z, sum.w + x.w);
        }
        __stcg(reinterpret_cast<float4*>(dBC + i * 4), sum);
      }
    }
    constexpr int kVec = kVectorElements<scalar_t>, kRow = kChannels / kVec, kStores = kTile * kRow;
#pragma unroll
    for (int k = 0; k < (kStores + kThreads - 1) / kThreads; ++k) {
      const int i = writer + k * kThreads, t = i / kRow, c = i % kRow * kVec;
      if ((kStores % kThreads == 0 || i < kStores) && t < steps && c < block.channels) {
        auto store = [&](const Sequence<scalar_t>& gradient, const scalar_t* source) {
          if (gradient.data == nullptr) return;
          scalar_t* to = gradient.data + row_offset(gradient, row, span) + (step + t) * gradient.time_stride +
                         block.first_channel + c;
          *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(source);
        };
        store(p.du, &s.u[stage][t][c]);
        store(p.ddelta, &s.delta[stage][t][c]);
        store(p.dz, &s.z[stage][t][c]);
      }
    }
  }

  // padding of this chunk
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

  // a lane holds dD and dbias of the steps it kept: add the lanes of a channel
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
#pragma unroll
    for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
      dD[c] += __shfl_xor_sync(0xffffffffu, dD[c], 4 << bit);
      dbias[c] += __shfl_xor_sync(0xffffffffu, dbias[c], 4 << bit);
      if constexpr (kWithTerms) dout_offset[c] += __shfl_xor_sync(0xffffffffu, dout_offset[c], 4 << bit);
    }
  }
  const BwdLane<Shape> place(fresh_thread_index());
  if (place.channel >= block.channels) return;
  const int64_t partial_row = chunk * p.batch + row;
#pragma unroll
  for (int c = 0; c < kLane; ++c) {
    const int channel = channel_of(place) + c, state_start = state_start_of(place) + c * kDState;
    if (p.dA != nullptr) {
      const float scaled[4] = {dA[c][0] * kDeltaUnit<scalar_t>, dA[c][1] * kDeltaUnit<scalar_t>,
                               dA[c][2] * kDeltaUnit<scalar_t>, dA[c][3] * kDeltaUnit<scalar_t>};
      store_floats(workspace + plan.dA + partial_row * row_states + state_start, scaled);
    }
    if constexpr (kWithTerms) {
      auto store = [&](const float* gradient, int64_t partial, const float(&sums)[4]) {
        if (gradient != nullptr) store_floats(workspace + partial + partial_row * row_states + state_start, sums);
      };
      store(p.dstate_offset, plan.dstate_offset, dstate_offset[c]);
      store(p.dB_scale, plan.dB_scale, dB_scale[c]);
      store(p.dB_bias, plan.dB_bias, dB_bias[c]);
      store(p.dC_scale, plan.dC_scale, dC_scale[c]);
      store(p.dC_bias, plan.dC_bias, dC_bias[c]);
      if (place.group == 0 && p.dout_offset != nullptr) {
        workspace[plan.dout_offset + partial_row * p.d_inner + channel] = dout_offset[c];
      }
    }
    if (place.group == 0 && p.dD != nullptr) workspace[plan.dD + partial_row * p.d_inner + channel] = dD[c];
    if (place.group == 0 && p.ddelta_bias != nullptr) {
      workspace[plan.dbias + partial_row * p.d_inner + channel] = dbias[c];
    }
    if (p.dinitial_state != nullptr && chunk == 0) {
      store_floats(p.dinitial_state + row * row_states + state_start, v[c]);
    }
  }
}

}  // namespace mpeft::kernels
