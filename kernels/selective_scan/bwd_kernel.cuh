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
  // Two stages: one being used, one being fetched. Once a stage is in drive and its neighbours, it takes the gradients.
  tile_t delta[2], z[2], dout[2], u[2], y[kSavedY ? 2 : 1];
  scalar_t states[2][Shape::kTile][2 * Shape::kDState];
  float4 drive[Shape::kTile][Shape::kDrivePitch];  // (delta in units of kDeltaUnit, delta u, dy, u)
  float softplus_derivative[Shape::kTile][Shape::kChannels];
  float dz_factor[kSavedY ? 1 : Shape::kTile][Shape::kChannels];  // dout silu'(z)
  float bias[Shape::kChannels], D[Shape::kChannels], offset[kWithTerms ? Shape::kChannels : 4];
  float BC[Shape::kTile][2 * Shape::kDState];
  float4 h_before[2][Shape::kThreads];  // a lane's own: the states before the two halves of the tile
  float4 dBC[Shape::kWarps * Shape::kPartials][Shape::kTile][Shape::kDState / 2];  // swizzled: dBC_place
};

/// Place of a float4 in a row of BwdShared::dBC, so that the lanes of a warp write to different banks.
template <typename Shape>
__device__ __forceinline__ int dBC_place(int t, int quad) {
  if constexpr (Shape::kDState == 8) return quad ^ (t & 2);
  const int tig = t % Shape::kProductSteps * Shape::kHalves + (quad >> 3) % Shape::kHalves;
  return quad ^ (tig << 1);
}

/// Adds over the lanes of a channel, values[t] being this lane's part of step t. Afterwards values[0 .. kKept) are the
/// sums of the steps from the returned one.
template <typename Shape>
__device__ __forceinline__ void sum_over_states(float (&values)[Shape::kSubTile]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    const int kept = Shape::kSubTile >> (bit + 1);
    const bool upper = (lane >> (2 + bit)) & 1;
#pragma unroll
    for (int j = 0; j < kept; ++j) {
      const float send = upper ? values[j] : values[j + kept], keep = upper ? values[j + kept] : values[j];
      values[j] = keep + __shfl_xor_sync(0xffffffffu, send, 4 << bit);
    }
  }
  if constexpr (Shape::kHalves == 2) values[0] += __shfl_xor_sync(0xffffffffu, values[0], 1);
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
                kThreads = Shape::kThreads, kDState = Shape::kDState, kPitch = Shape::kPitch;
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

  float A[4] = {}, v[4] = {}, dA[4] = {};
  StateTerms terms[kWithTerms ? 4 : 1];
  float dstate_offset[4] = {}, dB_scale[4] = {}, dB_bias[4] = {}, dC_scale[4] = {}, dC_bias[4] = {};
  let_successor_start();
  if (lane.channel < block.channels) {
    load_floats(A, p.A + state_start_of(lane));
    if constexpr (kWithTerms) {
#pragma unroll
      for (int i = 0; i < 4; ++i) terms[i] = state_terms(p, state_start_of(lane) + i);
    }
    if (plan.chunks > 1) wait_for_predecessor();
    carry_into_chunk(v, A, p, plan, workspace, chunk, row, channel_of(lane), lane.group);
  }
  float dD = 0.f, dbias = 0.f, dout_offset = 0.f;
  // column 2 (step, half) + {0, 1} of the result: states 0 and 1, or 2 and 3, of this lane's group
  float selector[Shape::kProductSteps][2];
#pragma unroll
  for (int q = 0; q < Shape::kProductSteps; ++q) {
    const int column = 2 * (q * Shape::kHalves + lane.half);
    selector[q][0] = lane.g == column ? 1.f : 0.f;
    selector[q][1] = lane.g == column + 1 ? 1.f : 0.f;
  }

  const StateSource<scalar_t> states = state_source(p, row, span, state_vectors);
  const bool gated = p.z.data != nullptr;
  const Sequence<const scalar_t> y{p.y, p.cu_seqlens == nullptr ? p.seqlen * p.d_inner : 0, p.d_inner};
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
    fetch_states<kTile, kDState, kThreads>(s.states[stage], states, step, steps);
    copy_async_commit();
  };

  if (threadIdx.x < kChannels) {  // seen after the first barrier of the loop
    const int c = static_cast<int>(threadIdx.x);
    s.D[c] = p.D != nullptr && c < block.channels ? p.D[block.first_channel + c] : 0.f;
    const bool with_bias = p.delta_bias != nullptr && c < block.channels;
    s.bias[c] = with_bias ? softplus_bias<scalar_t>(p.delta_bias[block.first_channel + c]) : 0.f;
    if constexpr (kWithTerms) {
      s.offset[c] = p.out_offset != nullptr && c < block.channels ? p.out_offset[block.first_channel + c] : 0.f;
    }
  }
  const int64_t first_checkpoint = first_row_part(p, row, span, kEvery), row_states = p.d_inner * kDState;
  const int last_checkpoint = (length - 1) / kEvery;

  auto fetch_checkpoints = [&](int step) {
    const int thread = fresh_thread_index();
    const BwdLane<Shape> place(thread);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int kept = min(step / kEvery + half, last_checkpoint);
      const float* source = p.checkpoints + (first_checkpoint + kept) * row_states;
      detail::copy_async(&s.h_before[half][thread], source + state_start_of(place), place.channel < block.channels);
    }
  };

  const int last_tile = first + (end - first - 1) / kTile * kTile;
  if (first < end) {
    fetch_checkpoints(last_tile);
    fetch(last_tile, 0);
  }
  int stage = 0;
#pragma unroll 1
  for (int step = last_tile; step >= first && first < end; step -= kTile, stage ^= 1) {
    const int steps = min(kTile, end - step);
    copy_async_wait();
    __syncthreads();
    if (step > first) fetch(step - kTile, stage ^ 1);

    constexpr int kVector = 4, kConverted = kTile * kChannels / kVector;  // channels a thread converts, such vectors
    const int converter = fresh_thread_index();
#pragma unroll
    for (int k = 0; k < (kConverted + kThreads - 1) / kThreads; ++k) {
      const int item = converter + k * kThreads, t = item / (kChannels / kVector), c = item % (kChannels / kVector) * 4;
      if (kConverted % kThreads == 0 || item < kConverted) {
        float u[kVector], delta[kVector], dy[kVector], bias[kVector], derivative[kVector], step_sizes[kVector];
        load_floats(bias, &s.bias[c]);
        load_floats(u, &s.u[stage][t][c]);
        load_floats(delta, &s.delta[stage][t][c]);
        load_floats(dy, &s.dout[stage][t][c]);
        softplus_delta<scalar_t>(step_sizes, derivative, delta, bias, p.delta_softplus);
        if (t >= steps) {  // fetched as zeros; the state passes through
#pragma unroll
          for (int i = 0; i < kVector; ++i) step_sizes[i] = derivative[i] = 0.f;
        }
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
        store_floats(&s.softplus_derivative[t][c], derivative);
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          s.drive[t][drive_slot<Shape>(c + i)] =
              make_float4(step_sizes[i], step_sizes[i] * kDeltaUnit<scalar_t> * u[i], dy[i], u[i]);
        }
      }
    }
    widen_states<kTile, kDState, kThreads>(s.BC, s.states[stage], 1.f);
    __syncthreads();

    const int slot = drive_slot<Shape>(lane.channel);
    float a[kSubTile][4], h[kSubTile + 1][4];
#pragma unroll 1
    for (int half = 1; half >= 0; --half) {
      const int t0 = half * kSubTile;
      load_floats(h[0], &s.h_before[half][threadIdx.x].x);
#pragma unroll
      for (int t = 0; t < kSubTile; ++t) {
        const float2 x = *reinterpret_cast<const float2*>(&s.drive[t0 + t][slot]);
        float B[4];
        load_floats(B, &s.BC[t0 + t][lane.group * 4]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          a[t][i] = decay<scalar_t>(x.x * A[i]);
          if constexpr (kWithTerms) B[i] = terms[i].scaled_B(B[i]);
          h[t + 1][i] = fmaf(a[t][i], h[t][i], x.y * B[i]);
        }
      }

      if (half == 0 && step > first) {  // both are used up: read, and the reads not moved below this line
        asm volatile("" ::: "memory");
        fetch_checkpoints(step - kTile);
        copy_async_commit();
      }

      float S1[kSubTile], S2[kSubTile], y_sums[kSubTile];
#pragma unroll
      for (int product = kSubTile / Shape::kProductSteps - 1; product >= 0; --product) {
        float dB_sums[4] = {}, dC_sums[4] = {};
#pragma unroll
        for (int q = Shape::kProductSteps - 1; q >= 0; --q) {
          const int t = product * Shape::kProductSteps + q;
          const float4 x = s.drive[t0 + t][slot];
          float B[4], C[4], dB_terms[4], dC_terms[4];
          load_floats(B, &s.BC[t0 + t][lane.group * 4]);
          load_floats(C, &s.BC[t0 + t][kDState + lane.group * 4]);
          S1[t] = S2[t] = y_sums[t] = 0.f;
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float B_t = B[i], C_t = C[i], read = h[t + 1][i];
            if constexpr (kWithTerms) {
              B_t = terms[i].scaled_B(B_t);
              C_t = terms[i].scaled_C(C_t);
              read += terms[i].offset;
            }
            const float g = fmaf(x.z, C_t, v[i]);
            v[i] = a[t][i] * g;
            const float vh = v[i] * h[t][i];
            S1[t] = fmaf(g, B_t, S1[t]);
            S2[t] = fmaf(vh, A[i], S2[t]);
            if constexpr (!kSavedY) y_sums[t] = fmaf(C_t, read, y_sums[t]);
            dA[i] = fmaf(vh, x.x, dA[i]);
            dB_terms[i] = g * x.y;
            dC_terms[i] = read * x.z;
            if constexpr (kWithTerms) {  // of B' and C' until here
              dstate_offset[i] = fmaf(x.z, C_t, dstate_offset[i]);
              dB_scale[i] = fmaf(dB_terms[i], B[i], dB_scale[i]);
              dB_bias[i] += dB_terms[i];
              dC_scale[i] = fmaf(dC_terms[i], C[i], dC_scale[i]);
              dC_bias[i] += dC_terms[i];
              dB_terms[i] *= terms[i].B_scale;
              dC_terms[i] *= terms[i].C_scale;
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
        const float D = s.D[lane.channel];
        const int kept_step = first_kept_step<Shape>(fresh_thread_index());
#pragma unroll
        for (int j = 0; j < kSubTile / Shape::kGroupsInG; ++j) {
          const int t = t0 + kept_step + j;
          const float4 x = s.drive[t][slot];
          const float ddelta = fmaf(x.w, S1[j], S2[j]) * s.softplus_derivative[t][lane.channel];
          dD = fmaf(x.z, x.w, dD);
          dbias += ddelta;
          if constexpr (kWithTerms) dout_offset += x.z;
          s.u[stage][t][lane.channel] = from_float<scalar_t>(fmaf(x.x * kDeltaUnit<scalar_t>, S1[j], D * x.z));
          s.delta[stage][t][lane.channel] = from_float<scalar_t>(ddelta);
          if (!kSavedY && gated) {
            float y_t = fmaf(D, x.w, y_sums[j]);
            if constexpr (kWithTerms) y_t += s.offset[lane.channel];
            s.z[stage][t][lane.channel] = from_float<scalar_t>(y_t * s.dz_factor[t][lane.channel]);
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
  for (int bit = 0; (1 << bit) < Shape::kGroupsInG; ++bit) {
    dD += __shfl_xor_sync(0xffffffffu, dD, 4 << bit);
    dbias += __shfl_xor_sync(0xffffffffu, dbias, 4 << bit);
    if constexpr (kWithTerms) dout_offset += __shfl_xor_sync(0xffffffffu, dout_offset, 4 << bit);
  }
  const BwdLane<Shape> place(fresh_thread_index());
  if (place.channel >= block.channels) return;
  const int channel = channel_of(place), state_start = state_start_of(place);
  const int64_t partial_row = chunk * p.batch + row;
  if (p.dA != nullptr) {
    const float scaled[4] = {dA[0] * kDeltaUnit<scalar_t>, dA[1] * kDeltaUnit<scalar_t>, dA[2] * kDeltaUnit<scalar_t>,
                             dA[3] * kDeltaUnit<scalar_t>};
    store_floats(workspace + plan.dA + partial_row * row_states + state_start, scaled);
  }
  if constexpr (kWithTerms) {
    auto store = [&](const float* gradient, int64_t partial, const float(&sums)[4]) {
      if (gradient != nullptr) store_floats(workspace + partial + partial_row * row_states + state_start, sums);
    };
    store(p.dstate_offset, plan.dstate_offset, dstate_offset);
    store(p.dB_scale, plan.dB_scale, dB_scale);
    store(p.dB_bias, plan.dB_bias, dB_bias);
    store(p.dC_scale, plan.dC_scale, dC_scale);
    store(p.dC_bias, plan.dC_bias, dC_bias);
    if (place.group == 0 && p.dout_offset != nullptr) {
      workspace[plan.dout_offset + partial_row * p.d_inner + channel] = dout_offset;
    }
  }
  if (place.group == 0 && p.dD != nullptr) workspace[plan.dD + partial_row * p.d_inner + channel] = dD;
  if (place.group == 0 && p.ddelta_bias != nullptr) workspace[plan.dbias + partial_row * p.d_inner + channel] = dbias;
  if (p.dinitial_state != nullptr && chunk == 0) {
    store_floats(p.dinitial_state + row * row_states + state_start, v);
  }
}

}  // namespace mpeft::kernels
