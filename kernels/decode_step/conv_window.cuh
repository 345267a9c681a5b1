#pragma once

#include <cstdint>

#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_params.h"

// defines: kMaxWidth, ConvWindow, ConvOfFour

namespace mpeft::kernels {

inline constexpr int kMaxWidth = 4;

/// What the convolution's step of one channel of one row reads before its new input is known.
template <typename scalar_t>
struct ConvWindow {
  scalar_t in[kMaxWidth - 1];
  float weight[kMaxWidth], bias;

  __device__ __forceinline__ void load(const DecodeConvParams<scalar_t>& p, int64_t row, int64_t channel) {
    const int64_t from = p.parents != nullptr ? p.parents[row] : row;
    const int taps = static_cast<int>(p.width) - 1;
    bias = p.bias != nullptr ? p.bias[channel] : 0.f;
#pragma unroll
    for (int tap = 0; tap < kMaxWidth; ++tap) {
      if (tap <= taps) weight[tap] = p.weight[channel * p.width + tap];
      if (tap < taps) in[tap] = p.state[(from * taps + tap) * p.d_inner + channel];
    }
  }

  /// Takes the new input: writes u and the window after it.
  __device__ __forceinline__ void step(const DecodeConvParams<scalar_t>& p, int64_t row, int64_t channel,
                                       scalar_t x) const {
    const int taps = static_cast<int>(p.width) - 1;
    scalar_t* const state_out = p.state_out + row * taps * p.d_inner + channel;
    float sum = bias;
#pragma unroll
    for (int tap = 0; tap < kMaxWidth - 1; ++tap) {
      if (tap < taps) sum = fmaf(weight[tap], to_float(in[tap]), sum);
    }
#pragma unroll
    for (int tap = 1; tap < kMaxWidth; ++tap) {
      if (tap == taps) sum = fmaf(weight[tap], to_float(x), sum);
    }
    p.u[row * p.d_inner + channel] = from_float<scalar_t>(sum * sigmoid<scalar_t>(sum));
#pragma unroll
    for (int tap = 0; tap + 1 < kMaxWidth - 1; ++tap) {
      if (tap + 1 < taps) state_out[tap * p.d_inner] = in[tap + 1];
    }
    state_out[(taps - 1) * p.d_inner] = x;
  }
};

/// The step of 4 neighbouring channels whose constants and windows are in shared memory: the same sums as ConvWindow's.
template <typename scalar_t>
struct ConvOfFour {
  float weight[kMaxWidth][4], bias[4];

  /// From the weights (width each) and biases of the 4 channels.
  __device__ __forceinline__ void load(const float* weights, const float* biases, int64_t width) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bias[i] = biases != nullptr ? biases[i] : 0.f;
#pragma unroll
      for (int tap = 0; tap < kMaxWidth; ++tap) weight[tap][i] = tap < width ? weights[i * width + tap] : 0.f;
    }
  }

  /// Takes the new input x; the window's taps are `pitch` elements apart. Writes u and the window after it.
  __device__ __forceinline__ void step(const DecodeConvParams<scalar_t>& p, int64_t row, int64_t channel,
                                       const scalar_t* window, int pitch, const RawVector<scalar_t, 4>& x) const {
    const int taps = static_cast<int>(p.width) - 1;
    scalar_t* const state_out = p.state_out + row * taps * p.d_inner + channel;
    float sum[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] = bias[i];
    const auto add = [&](int tap, const RawVector<scalar_t, 4>& in) {
      float value[4];
      in.widen(value);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[i] = fmaf(weight[tap][i], value[i], sum[i]);
    };
#pragma unroll
    for (int tap = 0; tap < kMaxWidth - 1; ++tap) {
      if (tap >= taps) break;
      RawVector<scalar_t, 4> in;
      in.load(window + tap * pitch);
      add(tap, in);
      if (tap > 0) in.store(state_out + (tap - 1) * p.d_inner);
    }
#pragma unroll
    for (int tap = 1; tap < kMaxWidth; ++tap) {
      if (tap == taps) add(tap, x);
    }
    x.store(state_out + (taps - 1) * p.d_inner);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] *= sigmoid<scalar_t>(sum[i]);
    store_floats(p.u + row * p.d_inner + channel, sum);
  }
};

}  // namespace mpeft::kernels
