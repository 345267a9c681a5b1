#pragma once

#include "kernels/common/cuda_math.cuh"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: SoftplusLog2, softplus_log2, exp2_polynomial, add_channels, StateTerms, state_terms

namespace mpeft::kernels {

/// Above this, softplus(x) = x to float accuracy.
inline constexpr float kSoftplusLinear = 20.f;

/// softplus in units of ln 2, so that exp(delta A) = exp2(value * A), and its derivative.
struct SoftplusLog2 {
  float value, derivative;
};

/// Of raw + bias; without softplus, raw + bias itself.
template <typename scalar_t>
__device__ __forceinline__ SoftplusLog2 softplus_log2(float raw, float bias, bool softplus) {
  const float x = fmaf(raw, kLog2e, bias * kLog2e), e = exp2_approx(x), one_plus = 1.f + e;
  // log2(1 + e) loses digits of a small e to the 1; two terms of the series do not
  const float value = e < 1e-3f ? e * fmaf(-0.5f * kLog2e, e, kLog2e) : log2_approx(one_plus);
  const bool linear = !softplus || x > kSoftplusLinear * kLog2e;
  return {linear ? x : value, linear ? 1.f : e * reciprocal_approx(one_plus)};
}

/// float I/O: the library functions, within 2 units in the last place.
template <>
__device__ __forceinline__ SoftplusLog2 softplus_log2<float>(float raw, float bias, bool softplus) {
  const float x = raw + bias, e = expf(x);
  const bool linear = !softplus || x > kSoftplusLinear;
  return {(linear ? x : log1pf(e)) * kLog2e, linear ? 1.f : e / (1.f + e)};
}

/// 2^x for x <= 0 on the fused multiply-add pipe, for kernels whose limit is the special function unit: round to
/// nearest integer by a magic addend, polynomial of degree 4 on [-0.5, 0.5] (relative error 6e-6, exact at 0), exponent
/// by integer addition. x below -126 counts as -126 (1e-38).
__device__ __forceinline__ float exp2_polynomial(float x) {
  constexpr float kRoundingAddend = 12582912.f;  // 1.5 * 2^23
  x = fmaxf(x, -126.f);
  const float rounded = x + kRoundingAddend;
  const float f = x - (rounded - kRoundingAddend);
  float p = fmaf(f, 0.009528352f, 0.055793332f);
  p = fmaf(p, f, 0.240251087f);
  p = fmaf(p, f, 0.69314718f);
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
