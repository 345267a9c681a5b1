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

/// Warps of a block: shared memory bounds them.
inline int any_bwd_warps(int64_t d_state) { return d_state > 128 ? 2 : 4; }

/// Per warp: h before and after 8 steps, dB and dC of 8 steps, v and dA of its channels, dD and dbias of its channels.
inline int any_bwd_shared_bytes(int64_t d_state) {
  const int64_t floats =
      (kAnySteps + 1) * d_state + kAnySteps * 2 * d_state + 2 * kAnyChannels * d_state + 2 * kAnyChannels;
  return static_cast<int>(any_bwd_warps(d_state) * floats * static_cast<int64_t>(sizeof(float)));
}

template <typename scalar_t>
__global__ void selective_scan_bwd_any_kernel(const SelectiveScanBwdParams<scalar_t> p, const BwdPlan plan,
                                              float* workspace) {
  extern __shared__ float shared_floats[];
  const int d_state = static_cast<int>(p.d_state), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warps = blockDim.x / 32, warp_floats = (kAnySteps * 3 + 1 + 2 * kAnyChannels) * d_state + 2 * kAnyChannels;
  float* const h = shared_floats + warp * warp_floats;      // [kAnySteps + 1][d_state]
  float* const dBC = h + (kAnySteps + 1) * d_state;         // [kAnySteps][2 d_state]
  float* const v = dBC + kAnySteps * 2 * d_state;           // [kAnyChannels][d_state]
  float* const dA = v + kAnyChannels * d_state;             // [kAnyChannels][d_state]
  float* const channel_sums = dA + kAnyChannels * d_state;  // [kAnyChannels][2]: dD, dbias

  const int64_t row = blockIdx.x / plan.channel_blocks, channel_block = blockIdx.x - row * plan.channel_blocks;
  const int64_t first_channel = channel_block * plan.channels + warp * kAnyChannels;
  const int channels = static_cast<int>(min(int64_t{kAnyChannels}, p.d_inner - first_channel));  // <= 0: none
  const int64_t length = device_row_length(p.lengths, row, p.seqlen);
  const int64_t checkpoints = (p.seqlen + kAnySteps - 1) / kAnySteps;
  const scalar_t* const B = p.B.data + row * p.B.batch_stride;
  const scalar_t* const C = p.C.data + row * p.C.batch_stride;

  for (int c = 0; c < channels; ++c) {
    for (int n = lane; n < d_state; n += 32) {
      v[c * d_state + n] =
          p.dlast_state == nullptr ? 0.f : p.dlast_state[(row * p.d_inner + first_channel + c) * d_state + n];
      dA[c * d_state + n] = 0.f;
    }
    if (lane < 2) channel_sums[c * 2 + lane] = 0.f;
  }

  for (int64_t piece = checkpoints - 1; piece >= 0; --piece) {
    const int64_t t0 = piece * kAnySteps;
    const int steps = static_cast<int>(min(int64_t{kAnySteps}, length - t0));  // <= 0: all padding
    for (int i = lane; i < kAnySteps * 2 * d_state; i += 32) dBC[i] = 0.f;
    __syncwarp();
    for (int c = 0; c < channels; ++c) {
      const int64_t channel = first_channel + c, t_lane = t0 + lane;
      const float D = p.D == nullptr ? 0.f : p.D[channel];
      // lane t < 8 prepares step t
      float u = 0.f, delta = 0.f, derivative = 0.f, dy = 0.f, dz_factor = 0.f;
      if (lane < steps) {
        u = to_float(p.u.data[row * p.u.batch_stride + t_lane * p.u.time_stride + channel]);
        const float raw = to_float(p.delta.data[row * p.delta.batch_stride + t_lane * p.delta.time_stride + channel]);
        const float bias = p.delta_bias == nullptr ? 0.f : p.delta_bias[channel];
        const SoftplusLog2 softplus = softplus_log2<scalar_t>(raw, bias, p.delta_softplus);
        delta = softplus.value;
        derivative = softplus.derivative;
        dy = to_float(p.dout.data[row * p.dout.batch_stride + t_lane * p.dout.time_stride + channel]);
        if (p.z.data != nullptr) {
          const float z = to_float(p.z.data[row * p.z.batch_stride + t_lane * p.z.time_stride + channel]);
          const float sigma = sigmoid<scalar_t>(z);
          dz_factor = dy * silu_derivative(z, sigma);
          dy *= z * sigma;
        }
      }
      for (int n = lane; n < d_state && steps > 0; n += 32) {
        h[n] = p.checkpoints[((row * checkpoints + piece) * p.d_inner + channel) * d_state + n];
      }
      for (int t = 0; t < steps; ++t) {
        const float delta_t = __shfl_sync(0xffffffffu, delta, t);
        const float delta_u = delta_t * kLn2 * __shfl_sync(0xffffffffu, u, t);
        for (int n = lane; n < d_state; n += 32) {
          const float a = exp2_approx(delta_t * p.A[channel * d_state + n]);
          h[(t + 1) * d_state + n] = fmaf(a, h[t * d_state + n], delta_u * to_float(B[(t0 + t) * p.B.time_stride + n]));
        }
      }
      float S1_lane = 0.f, S2_lane = 0.f, y_lane = 0.f;
      for (int t = steps - 1; t >= 0; --t) {
        const float delta_t = __shfl_sync(0xffffffffu, delta, t);
        const float delta_u = delta_t * kLn2 * __shfl_sync(0xffffffffu, u, t);
        const float dy_t = __shfl_sync(0xffffffffu, dy, t);
        float S1 = 0.f, S2 = 0.f, y = 0.f;
        for (int n = lane; n < d_state; n += 32) {
          const float A = p.A[channel * d_state + n], C_t = to_float(C[(t0 + t) * p.C.time_stride + n]);
          const float after = h[(t + 1) * d_state + n];
          const float g = fmaf(dy_t, C_t, v[c * d_state + n]), carried = exp2_approx(delta_t * A) * g;
          const float vh = carried * h[t * d_state + n];
          v[c * d_state + n] = carried;
          S1 = fmaf(g, to_float(B[(t0 + t) * p.B.time_stride + n]), S1);
          S2 = fmaf(vh, A, S2);
          y = fmaf(C_t, after, y);
          dA[c * d_state + n] = fmaf(vh, delta_t * kLn2, dA[c * d_state + n]);
          dBC[t * 2 * d_state + n] = fmaf(g, delta_u, dBC[t * 2 * d_state + n]);
          dBC[t * 2 * d_state + d_state + n] = fmaf(dy_t, after, dBC[t * 2 * d_state + d_state + n]);
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
      if (lane < kAnySteps && t_lane < p.seqlen) {
        auto store = [&](const Sequence<scalar_t>& gradient, float x) {
          if (gradient.data == nullptr) return;
          gradient.data[row * gradient.batch_stride + t_lane * gradient.time_stride + channel] =
              from_float<scalar_t>(lane < steps ? x : 0.f);
        };
        store(p.du, fmaf(delta * kLn2, S1_lane, D * dy));
        store(p.ddelta, ddelta);
        store(p.dz, fmaf(D, u, y_lane) * dz_factor);
      }
      const float dD = warp_sum(dy * u), dbias = warp_sum(ddelta);
      if (lane == 0) {
        channel_sums[c * 2] += dD;
        channel_sums[c * 2 + 1] += dbias;
      }
      __syncwarp();
    }
    __syncthreads();
    for (int i = threadIdx.x; i < steps * 2 * d_state; i += blockDim.x) {
      float sum = 0.f;
      for (int other = 0; other < warps; ++other) {
        sum += shared_floats[other * warp_floats + (kAnySteps + 1) * d_state + i];
      }
      workspace[plan.dBC + ((channel_block * p.batch + row) * p.seqlen + t0) * 2 * d_state + i] = sum;
    }
    __syncthreads();
  }

  for (int c = 0; c < channels; ++c) {
    const int64_t at = row * p.d_inner + first_channel + c;
    for (int n = lane; n < d_state; n += 32) {
      if (p.dA != nullptr) workspace[plan.dA + at * d_state + n] = dA[c * d_state + n];
      if (p.dinitial_state != nullptr) p.dinitial_state[at * d_state + n] = v[c * d_state + n];
    }
    if (lane == 0 && p.dD != nullptr) workspace[plan.dD + at] = channel_sums[c * 2];
    if (lane == 0 && p.ddelta_bias != nullptr) workspace[plan.dbias + at] = channel_sums[c * 2 + 1];
  }
}

}  // namespace mpeft::kernels
