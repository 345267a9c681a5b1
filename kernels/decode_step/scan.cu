// dt_proj, softplus, the scan's step and the gate of a decode step: any sizes, and the faster one for few rows.
//
// Equation and layouts: decode_step_params.h.
// Mapping: 4 lanes a (row, channel); each has a quarter of the states and of dt_proj's dot product. A block of 128
//   threads has 32 channels of one row.
// Accumulation: float.
// Limits: any sizes; states are accessed 16 bytes at a time when d_state is a multiple of 16, dt_proj 16 bytes at a
// time
//   when dt_rank is a multiple of 8.
#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/decode_step/overlap.cuh"
#include "kernels/decode_step/scan_rows.h"

namespace mpeft::kernels {
namespace {

constexpr int kLanes = 4, kScanThreads = 128, kChannels = kScanThreads / kLanes;

__device__ __forceinline__ float sum_of_lanes(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/// This lane's part of the dot product of two vectors of n.
template <typename scalar_t>
__device__ __forceinline__ float partial_dot(const scalar_t* a, const scalar_t* b, int64_t n, int lane, bool vectors) {
  float sum = 0.f;
  if (vectors) {
    for (int64_t j = 8 * lane; j < n; j += 8 * kLanes) {
      float x[8], y[8];
      load_floats(x, a + j);
      load_floats(y, b + j);
#pragma unroll
      for (int i = 0; i < 8; ++i) sum = fmaf(x[i], y[i], sum);
    }
  } else {
    for (int64_t j = lane; j < n; j += kLanes) sum = fmaf(to_float(a[j]), to_float(b[j]), sum);
  }
  return sum;
}

/// kVec states: loaded early, stepped when delta is known.
template <int kVec, typename scalar_t>
struct States {
  float h[kVec], a[kVec], b[kVec], c[kVec];

  __device__ __forceinline__ void load(const float* state, const scalar_t* B, const scalar_t* C) {
    load_floats(h, state);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      b[i] = to_float(B[i]);
      c[i] = to_float(C[i]);
    }
  }
  /// Writes the states after the step and returns their part of C h.
  __device__ __forceinline__ float step(float* state_out, float delta, float delta_u) {
    float y = 0.f;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      h[i] = fmaf(exp2_approx(delta * a[i] * kLog2e), h[i], delta_u * b[i]);
      y = fmaf(c[i], h[i], y);
    }
    store_floats(state_out, h);
    return y;
  }
};

constexpr int kDtAhead = 2;  // 16-byte vectors of dt_proj that a lane has on their way: dt_rank up to 64

/// kVec: 4 when d_state is a multiple of 16, else 1.
template <typename scalar_t, int kVec>
__global__ void __launch_bounds__(kScanThreads) decode_scan_kernel(DecodeScanParams<scalar_t> p, bool vector_dt) {
  const int lane = threadIdx.x % kLanes;
  const int64_t row = blockIdx.y;
  int64_t channel = static_cast<int64_t>(blockIdx.x) * kChannels + threadIdx.x / kLanes;
  const bool is_channel = channel < p.d_inner;
  if (!is_channel) channel = p.d_inner - 1;  // shuffles need every lane; these store nothing

  // constants first: they do not wait
  const int64_t first = kVec * lane;
  const bool has_states = first < p.d_state;
  const float* const A = p.A + channel * p.d_state;
  States<kVec, scalar_t> states;
  if (has_states) load_floats(states.a, A + first);
  const bool has_dt = p.dt_weight != nullptr;
  RawVector<scalar_t, 8> dt_weight[kDtAhead];
  const scalar_t* const dt_row = has_dt ? p.dt_weight + channel * p.dt_rank : nullptr;
  if (has_dt && vector_dt) {
#pragma unroll
    for (int k = 0; k < kDtAhead; ++k) {
      const int64_t j = 8 * (lane + k * kLanes);
      if (j < p.dt_rank) dt_weight[k].load(dt_row + j);
    }
  }
  const float dt_bias = p.dt_bias[channel], skip = p.D[channel];
  wait_for_previous_kernel();

  const int64_t from = p.parents != nullptr ? p.parents[row] : row;
  const scalar_t* const dt = p.x_dbl + row * (p.dt_rank + 2 * p.d_state);
  const scalar_t *const B = dt + p.dt_rank, *const C = B + p.d_state;
  const float u = to_float(p.u[row * p.d_inner + channel]), z = to_float(p.z[row * p.z_row_stride + channel]);
  const float* const state = p.state + (from * p.d_inner + channel) * p.d_state;
  float* const state_out = p.state_out + (row * p.d_inner + channel) * p.d_state;
  if (has_states) states.load(state + first, B + first, C + first);

  float delta;
  if (has_dt) {
    float dot = 0.f;
    int64_t done = 0;
    if (vector_dt) {
#pragma unroll
      for (int k = 0; k < kDtAhead; ++k) {
        const int64_t j = 8 * (lane + k * kLanes);
        if (j >= p.dt_rank) break;
        float x[8], w[8];
        load_floats(x, dt + j);
        dt_weight[k].widen(w);
#pragma unroll
        for (int i = 0; i < 8; ++i) dot = fmaf(x[i], w[i], dot);
      }
      done = min(static_cast<int64_t>(8 * kLanes * kDtAhead), p.dt_rank);
    }
    dot += partial_dot(dt + done, dt_row + done, p.dt_rank - done, lane, vector_dt);
    delta = to_float(from_float<scalar_t>(sum_of_lanes(dot)));
  } else {
    delta = to_float(p.delta[row * p.d_inner + channel]);
  }
  delta += dt_bias;
  delta = delta > 20.f ? delta : log1pf(expf(delta));

  float y = 0.f;
  if (is_channel && has_states) {
    y = states.step(state_out + first, delta, delta * u);
    for (int64_t n = first + kVec * kLanes; n < p.d_state; n += kVec * kLanes) {
      load_floats(states.a, A + n);
      states.load(state + n, B + n, C + n);
      y += states.step(state_out + n, delta, delta * u);
    }
  }
  y = sum_of_lanes(y);
  if (lane != 0 || !is_channel) return;
  p.y[row * p.d_inner + channel] = from_float<scalar_t>(fmaf(skip, u, y) * z * sigmoid<scalar_t>(z));
}

}  // namespace

template <typename scalar_t>
cudaError_t launch_decode_scan(const DecodeScanParams<scalar_t>& p, cudaStream_t stream) {
  if (p.rows == 0 || p.d_inner == 0) return cudaSuccess;
  if (decode_scan_rows_suits(p)) return launch_decode_scan_rows(p, stream);
  const int64_t blocks = (p.d_inner + kChannels - 1) / kChannels;
  if (p.rows > 65535 || blocks > INT32_MAX) return cudaErrorInvalidValue;
  const bool vector_states = p.d_state % (4 * kLanes) == 0 && is_vector_aligned(p.state) &&
                             is_vector_aligned(p.state_out) && is_vector_aligned(p.A);
  const bool vector_dt = p.dt_rank % 8 == 0 && (p.dt_rank + 2 * p.d_state) % 8 == 0 && is_vector_aligned(p.x_dbl) &&
                         is_vector_aligned(p.dt_weight);
  const auto kernel = vector_states ? decode_scan_kernel<scalar_t, 4> : decode_scan_kernel<scalar_t, 1>;
  return launch_overlapping(kernel, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(p.rows)),
                            dim3(kScanThreads), 0, stream, p, vector_dt);
}

template cudaError_t launch_decode_scan(const DecodeScanParams<__nv_bfloat16>&, cudaStream_t);
template cudaError_t launch_decode_scan(const DecodeScanParams<__half>&, cudaStream_t);

}  // namespace mpeft::kernels
