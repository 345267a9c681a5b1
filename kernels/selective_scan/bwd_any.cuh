#pragma once

// Selective scan, backward, for every shape the tiled kernel does not take: any d_state up to 256, any d_inner, any
// alignment.
//
// Equation: bwd_kernel.cuh.
// Mapping: a warp walks kAnyChannels channels, one after another, through each piece of 8 steps (from a checkpoint to
// the next);
//   states n, n + 32, ... are lane n's. What a lane keeps between pieces lies in shared memory, at places no other lane
//   touches; only dB and dC are added over the warps of a block. Several times slower than the tiled kernel.
#include "kernels/selective_scan/bwd_shape.cuh"
#include "kernels/selective_scan/fwd_any.cuh"

// defines: kAnyChannels, any_bwd_warps, any_bwd_shared_bytes, selective_scan_bwd_any_kernel

namespace mpeft::kernels {

inline constexpr int kAnyChannels = 4;
inline constexpr int kAnySteps = static_cast<int>(kSelectiveScanCheckpointEvery);

/// Sums over time that a warp keeps for each of its channels and states: dA; with terms also dstate_offset, dB_scale,
/// dB_bias, dC_scale, dC_bias.
template <typename scalar_t>
MPEFT_INLINE int any_bwd_state_sums(const SelectiveScanInputs<scalar_t>& p) {
  return has_state_terms(p) ? 6 : 1;
}
/// And for each channel: dD, dbias, dout_offset.
inline constexpr int kAnyChannelSums = 3;
/// Shared memory that a block may have at least, sm_80 to sm_120.
inline constexpr int kAnySharedBytes = 99 * 1024;

/// Floats a warp keeps in shared memory: h before and after 8 steps, dB and dC of 8 steps, v and the sums of its
/// channels.
template <typename scalar_t>
MPEFT_INLINE int any_bwd_warp_floats(const SelectiveScanInputs<scalar_t>& p) {
  const int state_floats = (kAnySteps + 1) + kAnySteps * 2 + (1 + any_bwd_state_sums(p)) * kAnyChannels;
  return state_floats * static_cast<int>(p.d_state) + kAnyChannelSums * kAnyChannels;
}

/// Warps of a block: shared memory bounds them.
template <typename scalar_t>
int any_bwd_warps(const SelectiveScanInputs<scalar_t>& p) {
  int warps = 4;
  while (warps > 1 && warps * any_bwd_warp_floats(p) * static_cast<int>(sizeof(float)) > kAnySharedBytes) warps /= 2;
  return warps;
}

template <typename scalar_t>
int any_bwd_shared_bytes(const SelectiveScanInputs<scalar_t>& p) {
  return any_bwd_warps(p) * any_bwd_warp_floats(p) * static_cast<int>(sizeof(float));
}

template <typename scalar_t>
__global__ void selective_scan_bwd_any_kernel(const SelectiveScanBwdParams<scalar_t> p, const BwdPlan plan,
                                              float* workspace) {
  extern __shared__ float shared_floats[];
  const int d_state = static_cast<int>(p.d_state), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warps = blockDim.x / 32, warp_floats = any_bwd_warp_floats(p), state_sums = any_bwd_state_sums(p);
  const bool with_terms = state_sums > 1;
  float* const h = shared_floats + warp * warp_floats;                     // [kAnySteps + 1][d_state]
  float* const dBC = h + (kAnySteps + 1) * d_state;                        // [kAnySteps][2 d_state]
  float* const v = dBC + kAnySteps * 2 * d_state;                          // [kAnyChannels][d_state]
  float* const sums = v + kAnyChannels * d_state;                          // [kAnyChannels][state_sums][d_state]
  float* const channel_sums = sums + kAnyChannels * state_sums * d_state;  // [kAnyChannels][kAnyChannelSums]

  const int64_t row = blockIdx.x / plan.channel_blocks, channel_block = blockIdx.x - row * plan.channel_blocks;
  const int64_t first_channel = channel_block * plan.channels + warp * kAnyChannels;
  const int channels = static_cast<int>(min(int64_t{kAnyChannels}, p.d_inner - first_channel));  // <= 0: none
  const RowSpan span = row_span(p, row);
  const int64_t length = span.length, first_checkpoint = first_row_part(p, row, span, kAnySteps);
  const scalar_t* const B = p.B.data + row_offset(p.B, row, span);
  const scalar_t* const C = p.C.data + row_offset(p.C, row, span);
  auto read = [&](const Sequence<const scalar_t>& x, int64_t t, int64_t channel) {
    return to_float(x.data[row_offset(x, row, span) + t * x.time_stride + channel]);
  };

  for (int c = 0; c < channels; ++c) {
    for (int n = lane; n < d_state; n += 32) {
      v[c * d_state + n] =
          p.dlast_state == nullptr ? 0.f : p.dlast_state[(row * p.d_inner + first_channel + c) * d_state + n];
      for (int k = 0; k < state_sums; ++k) sums[(c * state_sums + k) * d_state + n] = 0.f;
    }
    if (lane < kAnyChannelSums) channel_sums[c * kAnyChannelSums + lane] = 0.f;
  }

  for (int64_t piece = (span.stored + kAnySteps - 1) / kAnySteps - 1; piece >= 0; --piece) {
    const int64_t t0 = piece * kAnySteps;
    const int steps = static_cast<int>(min(int64_t{kAnySteps}, length - t0));  // <= 0: all padding
    for (int i = lane; i < kAnySteps * 2 * d_state; i += 32) dBC[i] = 0.f;
    __syncwarp();
    for (int c = 0; c < channels; ++c) {
      const int64_t channel = first_channel + c, t_lane = t0 + lane;
      const float D = p.D == nullptr ? 0.f : p.D[channel];
      const float offset = p.out_offset == nullptr ? 0.f : p.out_offset[channel];
      // lane t < 8 prepares step t
      float u = 0.f, delta = 0.f, derivative = 0.f, dy = 0.f, dz_factor = 0.f;
      if (lane < steps) {
        u = read(p.u, t_lane, channel);
        const float raw = read(p.delta, t_lane, channel);
        const float bias = p.delta_bias == nullptr ? 0.f : p.delta_bias[channel];
        delta = softplus_delta<scalar_t>(raw, bias, p.delta_softplus, &derivative);
        dy = read(p.dout, t_lane, channel);
        if (p.z.data != nullptr) {
          const float z = read(p.z, t_lane, channel);
          const Silu gate = silu<scalar_t>(z);
          dz_factor = dy * gate.derivative;
          dy *= gate.value;
        }
      }
      for (int n = lane; n < d_state && steps > 0; n += 32) {
        h[n] = p.checkpoints[((first_checkpoint + piece) * p.d_inner + channel) * d_state + n];
      }
      for (int t = 0; t < steps; ++t) {
        const float delta_t = __shfl_sync(0xffffffffu, delta, t);
        const float delta_u = delta_t * kDeltaUnit<scalar_t> * __shfl_sync(0xffffffffu, u, t);
        for (int n = lane; n < d_state; n += 32) {
          const float a = decay<scalar_t>(delta_t * p.A[channel * d_state + n]);
          const StateTerms terms = with_terms ? state_terms(p, channel * d_state + n) : StateTerms{};
          const float B_t = terms.scaled_B(to_float(B[(t0 + t) * p.B.time_stride + n]));
          h[(t + 1) * d_state + n] = fmaf(a, h[t * d_state + n], delta_u * B_t);
        }
      }
      float S1_lane = 0.f, S2_lane = 0.f, y_lane = 0.f;
      for (int t = steps - 1; t >= 0; --t) {
        const float delta_t = __shfl_sync(0xffffffffu, delta, t);
        const float delta_u = delta_t * kDeltaUnit<scalar_t> * __shfl_sync(0xffffffffu, u, t);
        const float dy_t = __shfl_sync(0xffffffffu, dy, t);
        float S1 = 0.f, S2 = 0.f, y = 0.f;
        for (int n = lane; n < d_state; n += 32) {
          const StateTerms terms = with_terms ? state_terms(p, channel * d_state + n) : StateTerms{};
          const float A = p.A[channel * d_state + n];
          const float B_given = to_float(B[(t0 + t) * p.B.time_stride + n]), B_t = terms.scaled_B(B_given);
          const float C_given = to_float(C[(t0 + t) * p.C.time_stride + n]), C_t = terms.scaled_C(C_given);
          const float after = h[(t + 1) * d_state + n] + terms.offset;
          const float g = fmaf(dy_t, C_t, v[c * d_state + n]), carried = decay<scalar_t>(delta_t * A) * g;
          const float vh = carried * h[t * d_state + n];
          const float dB_t = g * delta_u, dC_t = dy_t * after;  // of B' and C'
          v[c * d_state + n] = carried;
          S1 = fmaf(g, B_t, S1);
          S2 = fmaf(vh, A, S2);
          y = fmaf(C_t, after, y);
          dBC[t * 2 * d_state + n] = fmaf(terms.B_scale, dB_t, dBC[t * 2 * d_state + n]);
          dBC[t * 2 * d_state + d_state + n] = fmaf(terms.C_scale, dC_t, dBC[t * 2 * d_state + d_state + n]);
          float* const sum = sums + c * state_sums * d_state + n;
          sum[0] = fmaf(vh, delta_t * kDeltaUnit<scalar_t>, sum[0]);
          if (with_terms) {
            sum[d_state] = fmaf(dy_t, C_t, sum[d_state]);
            sum[2 * d_state] = fmaf(dB_t, B_given, sum[2 * d_state]);
            sum[3 * d_state] += dB_t;
            sum[4 * d_state] = fmaf(dC_t, C_given, sum[4 * d_state]);
            sum[5 * d_state] += dC_t;
          }
        }
        S1 = warp_sum(S1);
        S2 = warp_sum(S2);
        y = warp_sum(y);
        if (lane == t) {
          S1_lane = S1;
          S2_lane = S2;
          y_lane = y;
        }
      }
      const float ddelta = fmaf(u, S1_lane, S2_lane) * derivative;
      if (lane < kAnySteps && t_lane < span.stored) {
        auto store = [&](const Sequence<scalar_t>& gradient, float x) {
          if (gradient.data == nullptr) return;
          gradient.data[row_offset(gradient, row, span) + t_lane * gradient.time_stride + channel] =
              from_float<scalar_t>(lane < steps ? x : 0.f);
        };
        store(p.du, fmaf(delta * kDeltaUnit<scalar_t>, S1_lane, D * dy));
        store(p.ddelta, ddelta);
        store(p.dz, (fmaf(D, u, y_lane) + offset) * dz_factor);
      }
      const float dD = warp_sum(dy * u), dbias = warp_sum(ddelta), doffset = warp_sum(dy);
      if (lane == 0) {
        channel_sums[c * kAnyChannelSums] += dD;
        channel_sums[c * kAnyChannelSums + 1] += dbias;
        channel_sums[c * kAnyChannelSums + 2] += doffset;
      }
      __syncwarp();
    }
    __syncthreads();
    for (int i = threadIdx.x; i < steps * 2 * d_state; i += blockDim.x) {
      float sum = 0.f;
      for (int other = 0; other < warps; ++other) {
        sum += shared_floats[other * warp_floats + (kAnySteps + 1) * d_state + i];
      }
      workspace[plan.dBC + (channel_block * n_tokens(p) + span.first + t0) * 2 * d_state + i] = sum;
    }
    __syncthreads();
  }

  for (int c = 0; c < channels; ++c) {
    const int64_t at = row * p.d_inner + first_channel + c;
    for (int n = lane; n < d_state; n += 32) {
      const float* const sum = sums + c * state_sums * d_state + n;
      auto store = [&](const float* gradient, int64_t partial, int which) {
        if (gradient != nullptr) workspace[partial + at * d_state + n] = sum[which * d_state];
      };
      store(p.dA, plan.dA, 0);
      if (with_terms) {
        store(p.dstate_offset, plan.dstate_offset, 1);
        store(p.dB_scale, plan.dB_scale, 2);
        store(p.dB_bias, plan.dB_bias, 3);
        store(p.dC_scale, plan.dC_scale, 4);
        store(p.dC_bias, plan.dC_bias, 5);
      }
      if (p.dinitial_state != nullptr) p.dinitial_state[at * d_state + n] = v[c * d_state + n];
    }
    if (lane == 0 && p.dD != nullptr) workspace[plan.dD + at] = channel_sums[c * kAnyChannelSums];
    if (lane == 0 && p.ddelta_bias != nullptr) workspace[plan.dbias + at] = channel_sums[c * kAnyChannelSums + 1];
    if (lane == 0 && p.dout_offset != nullptr) workspace[plan.dout_offset + at] = channel_sums[c * kAnyChannelSums + 2];
  }
}

}  // namespace mpeft::kernels
