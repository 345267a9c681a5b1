#pragma once

#include <cstdint>

#include "kernels/common/cuda_math.cuh"
#include "kernels/common/cuda_vector.cuh"
#include "kernels/decode_step/decode_step_params.h"

// defines: kMaxWidth, ConvWindow

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

}  // namespace mpeft::kernels
