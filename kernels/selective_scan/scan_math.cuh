#pragma once

#include "kernels/common/cuda_math.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

// defines: kDeltaUnit, decay, softplus_bias, load_softplus_bias, softplus_delta,
// softplus_delta_polynomial, Silu, silu, exp2_polynomial, add_channels, first_checkpoint, StateTerms, state_terms

namespace mpeft::kernels {

/// What delta is measured in. 16-bit I/O: ln 2, so that exp(delta A) is one instruction. float I/O: 1, and a decay that
/// is as accurate as the library's, because what a step's rounding adds, thousands of steps keep.
template <typename scalar_t>
inline constexpr float kDeltaUnit = sizeof(scalar_t) == 4 ? 1.f : kLn2;

/// exp(delta A), of their product with delta in units of kDeltaUnit.
template <typename scalar_t>
__device__ __forceinline__ float decay(float delta_A) {
  if constexpr (sizeof(scalar_t) == 4) {
    // expf is off by up to a unit in the last place: too much near 1, where thousands of steps multiply
    return fabsf(delta_A) < 0.35f ? 1.f + expm1f(delta_A) : expf(delta_A);
  } else {
    return exp2_approx(delta_A);
  }
}

/// Above this, softplus(x) = x to float accuracy.
inline constexpr float kSoftplusLinear = 20.f;

/// A bias in the units that softplus_delta<scalar_t> takes it in.
template <typename scalar_t>
__device__ __forceinline__ float softplus_bias(float bias) {
  return sizeof(scalar_t) == 4 ? bias : bias * kLog2e;
}

/// bias[i]: softplus_bias of channel + i of a block of `channels` from first_channel on; 0 where delta_bias is null and
/// beyond the block.
template <typename scalar_t, int kN>
__device__ __forceinline__ void load_softplus_bias(float (&bias)[kN], const float* delta_bias, int64_t first_channel,
                                                   int channel, int channels) {
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    bias[i] = 0.f;
    if (delta_bias != nullptr && channel + i < channels) {
      bias[i] = softplus_bias<scalar_t>(delta_bias[first_channel + channel + i]);
    }
  }
}

/// value = softplus(raw + bias) in units of kDeltaUnit, and its derivative; without softplus raw + bias itself, and 1.
/// bias: softplus_bias. derivative null: not wanted. The rare values that are computed another way are found by one
/// comparison of all |x| (kOneTest: fewer instructions, but it takes positive x for rare that are not) or by their
/// exact bounds; the values are the same.
template <typename scalar_t, bool kOneTest = true, int kN>
__device__ __forceinline__ void softplus_delta(float (&value)[kN], float* derivative, const float (&raw)[kN],
                                               const float (&bias)[kN], bool softplus) {
  constexpr bool kFloat = sizeof(scalar_t) == 4;
  if (!softplus) {
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      value[i] = kFloat ? raw[i] + bias[i] : fmaf(raw[i], kLog2e, bias[i]);
      if (derivative != nullptr) derivative[i] = 1.f;
    }
    return;
  }
  if constexpr (kFloat) {  // the library functions, within 2 units in the last place
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const float x = raw[i] + bias[i], e = expf(x);
      value[i] = x > kSoftplusLinear ? x : log1pf(e);
      if (derivative != nullptr) derivative[i] = x > kSoftplusLinear ? 1.f : e / (1.f + e);
    }
  } else {
    constexpr float kSmall = 1e-3f, kLarge = 4.8e8f;  // e^kSoftplusLinear
    constexpr float kPlain = 9.96f;                   // -log2(kSmall)
    float x[kN], least = 1.f, most = kOneTest ? 0.f : 1.f;
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      x[i] = fmaf(raw[i], kLog2e, bias[i]);
      const float e = exp2_approx(x[i]), one_plus = 1.f + e;
      if constexpr (!kOneTest) least = fminf(least, e);
      most = fmaxf(most, kOneTest ? fabsf(x[i]) : e);
      value[i] = log2_approx(one_plus);
      if (derivative != nullptr) derivative[i] = e * reciprocal_approx(one_plus);
    }
    if (kOneTest ? most > kPlain : least < kSmall || most > kLarge) {  // seldom, so all of them again
#pragma unroll
      for (int i = 0; i < kN; ++i) {
        const float e = exp2_approx(x[i]);
        // log2(1 + e) loses digits of a small e to the 1; two terms of the series do not
        if (e < kSmall) value[i] = e * fmaf(-0.5f * kLog2e, e, kLog2e);
        if (e > kLarge) {
          value[i] = x[i];
          if (derivative != nullptr) derivative[i] = 1.f;
        }
      }
    }
  }
}

/// The value of softplus_delta. 16-bit I/O: with one special function instead of two, and without rare cases, for
/// kernels whose limit is the special function unit: max(x, 0) + log2(1 + e), e = 2^-|x|; log2(1 + e) / e is a
/// polynomial (minimax, relative error 8.6e-6; softplus_delta: where e is small up to 6e-5, by 1 + e, and what lg2
/// adds, 2^-22 of 1).
template <typename scalar_t, int kN>
__device__ __forceinline__ void softplus_delta_polynomial(float (&value)[kN], const float (&raw)[kN],
                                                          const float (&bias)[kN], bool softplus) {
  if constexpr (sizeof(scalar_t) == 4) {
    softplus_delta<scalar_t>(value, nullptr, raw, bias, softplus);
  } else if (!softplus) {
    softplus_delta<scalar_t>(value, nullptr, raw, bias, false);
  } else {
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const float x = fmaf(raw[i], kLog2e, bias[i]), e = exp2_approx(-fabsf(x));
      float p = fmaf(e, -0.0344358869f, 0.146032855f);
      p = fmaf(p, e, -0.303036213f);
      p = fmaf(p, e, 0.469174087f);
      p = fmaf(p, e, -0.720426142f);
      p = fmaf(p, e, 1.44268286f);
      value[i] = fmaf(p, e, fmaxf(x, 0.f));
    }
  }
}

/// One of them.
template <typename scalar_t>
__device__ __forceinline__ float softplus_delta(float raw, float bias, bool softplus, float* derivative = nullptr) {
  float value[1];
  const float raws[1] = {raw}, biases[1] = {softplus_bias<scalar_t>(bias)};
  softplus_delta<scalar_t>(value, derivative, raws, biases, softplus);
  return value[0];
}

/// x sigmoid(x) and its derivative.
struct Silu {
  float value, derivative;
};
template <typename scalar_t>
__device__ __forceinline__ Silu silu(float x) {
  const float s = sigmoid<scalar_t>(x), value = x * s;
  return {value, fmaf(value, 1.f - s, s)};
}
template <>
__device__ __forceinline__ Silu silu<__nv_bfloat16>(float x) {
  const float half = 0.5f * x, tanh = tanh_approx(half), s = fmaf(0.5f, tanh, 0.5f), value = fmaf(half, tanh, half);
  return {value, fmaf(value, 1.f - s, s)};
}

/// 2^x for x <= 0 on the fused multiply-add pipe, for kernels whose limit is the special function unit: round to
/// nearest integer by a magic addend, polynomial on [-0.5, 0.5] (minimax, exact at 0; of degree 4, relative error 6e-6,
/// or 5, 2e-7), exponent by integer addition. x below -126 counts as -126 (1e-38).
template <int kDegree = 4>
__device__ __forceinline__ float exp2_polynomial(float x) {
  static_assert(kDegree == 4 || kDegree == 5);
  constexpr float kRoundingAddend = 12582912.f;  // 1.5 * 2^23
  x = fmaxf(x, -126.f);
  const float rounded = x + kRoundingAddend;
  const float f = x - (rounded - kRoundingAddend);
  float p;
  if constexpr (kDegree == 4) {
    p = fmaf(f, 0.009528352f, 0.055793332f);
    p = fmaf(p, f, 0.240251087f);
    p = fmaf(p, f, 0.69314718f);
  } else {
    p = fmaf(f, 0.00132647f, 0.00967151f);
    p = fmaf(p, f, 0.05550734f);
    p = fmaf(p, f, 0.24022242f);
    p = fmaf(p, f, 0.693147f);
  }
  p = fmaf(p, f, 1.f);
  return __uint_as_float(__float_as_uint(p) + (__float_as_uint(rounded) << 23));
}

namespace detail {

/// sums += a b, m16n8k8 in tf32 with float accumulation.
__device__ __forceinline__ void mma_tf32(float (&sums)[4], const float (&a)[4], float b0, float b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

}  // namespace detail

/// Sums over channels by a matrix product with a 0/1 matrix: a lane's four products are its place in the left operand,
/// and selector (one column of the right operand a lane) says which of them go into which column of the result. The
/// unit keeps 11 significant bits of an operand; types finer than bfloat16 pass the rest in a second product (22 bits).
template <typename scalar_t>
__device__ __forceinline__ void add_channels(float (&sums)[4], const float (&products)[4], float selector0,
                                             float selector1) {
  float high[4], low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    high[i] = __uint_as_float(__float_as_uint(products[i]) & 0xffffe000u);
    low[i] = products[i] - high[i];
  }
  detail::mma_tf32(sums, high, selector0, selector1);
  detail::mma_tf32(sums, low, selector0, selector1);
}
template <>
__device__ __forceinline__ void add_channels<__nv_bfloat16>(float (&sums)[4], const float (&products)[4],
                                                            float selector0, float selector1) {
  detail::mma_tf32(sums, products, selector0, selector1);
}

/// The row's first kept state. Both distances are constants here: a 64-bit division costs registers.
template <typename Params>
__device__ __forceinline__ int64_t first_checkpoint(const Params& p, int64_t row, const RowSpan& span) {
  return p.checkpoint_every == kSelectiveScanCompactEvery ? first_row_part(p, row, span, kSelectiveScanCompactEvery)
                                                          : first_row_part(p, row, span, kSelectiveScanCheckpointEvery);
}

/// What turns B, C and h of one channel and state into B', C' and h + state_offset; neutral by default.
struct StateTerms {
  float offset = 0.f, B_scale = 1.f, B_bias = 0.f, C_scale = 1.f, C_bias = 0.f;

  __device__ __forceinline__ float scaled_B(float B) const { return fmaf(B_scale, B, B_bias); }
  __device__ __forceinline__ float scaled_C(float C) const { return fmaf(C_scale, C, C_bias); }
};

/// `at`: of the channel and state in (d_inner, d_state).
template <typename scalar_t>
__device__ __forceinline__ StateTerms state_terms(const SelectiveScanInputs<scalar_t>& p, int64_t at) {
  StateTerms terms;
  if (p.state_offset != nullptr) terms.offset = p.state_offset[at];
  if (p.B_scale != nullptr) terms.B_scale = p.B_scale[at];
  if (p.B_bias != nullptr) terms.B_bias = p.B_bias[at];
  if (p.C_scale != nullptr) terms.C_scale = p.C_scale[at];
  if (p.C_bias != nullptr) terms.C_bias = p.C_bias[at];
  return terms;
}

}  // namespace mpeft::kernels
