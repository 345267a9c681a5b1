#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// defines: kLn2, kLog2e, exp2_approx, log2_approx, reciprocal_approx, tanh_approx, sigmoid, silu_derivative
//
// Elementary functions on the special function unit. Relative errors of a few 1e-7 (exp2, log2 away from 1,
// reciprocal), which is float accuracy; sigmoid<__nv_bfloat16> uses tanh.approx, absolute error 2^-12: below bfloat16's
// rounding.

namespace mpeft::kernels {

inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kLog2e = 1.4426950408889634f;

__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Absolute error 2^-11.
__device__ __forceinline__ float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// 1 / (1 + exp(-x)), as accurate as scalar_t deserves.
template <typename scalar_t>
__device__ __forceinline__ float sigmoid(float x) {
  return reciprocal_approx(1.f + exp2_approx(-x * kLog2e));
}
template <>
__device__ __forceinline__ float sigmoid<__nv_bfloat16>(float x) {
  return fmaf(0.5f, tanh_approx(0.5f * x), 0.5f);
}
/// float I/O: the product -x log2(e) would lose 1e-7 |x|; expf keeps it.
template <>
__device__ __forceinline__ float sigmoid<float>(float x) {
  return 1.f / (1.f + expf(-x));
}

/// d silu(x) / dx, from s = sigmoid(x).
__device__ __forceinline__ float silu_derivative(float x, float s) { return s * fmaf(x, 1.f - s, 1.f); }

}  // namespace mpeft::kernels
