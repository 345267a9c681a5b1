#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// defines: to_float, from_float, load_floats, store_floats, kVectorElements, is_vector_aligned

namespace mpeft::kernels {

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }

template <typename scalar_t>
__device__ __forceinline__ scalar_t from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}

/// Elements of one 16-byte access.
template <typename scalar_t>
inline constexpr int kVectorElements = 16 / static_cast<int>(sizeof(scalar_t));

/// N elements moved by accesses of at most 16 bytes; the address is aligned to min(16, N * sizeof(scalar_t)).
template <typename scalar_t, int N>
struct alignas(N * sizeof(scalar_t) < 16 ? N * sizeof(scalar_t) : 16) ElementPack {
  scalar_t element[N];
};

namespace detail {

template <int kBytes>
struct AccessOf {
  using type = uint4;
};
template <>
struct AccessOf<8> {
  using type = uint2;
};
template <>
struct AccessOf<4> {
  using type = uint32_t;
};
template <>
struct AccessOf<2> {
  using type = uint16_t;
};

template <typename scalar_t, int N>
__device__ __forceinline__ void copy_pack(void* destination, const void* source) {
  using access_t = typename AccessOf<static_cast<int>(N * sizeof(scalar_t))>::type;
  constexpr int kAccesses = static_cast<int>(N * sizeof(scalar_t) / sizeof(access_t));
#pragma unroll
  for (int i = 0; i < kAccesses; ++i) {
    static_cast<access_t*>(destination)[i] = static_cast<const access_t*>(source)[i];
  }
}

}  // namespace detail

template <int N, typename scalar_t>
__device__ __forceinline__ void load_floats(float (&x)[N], const scalar_t* source) {
  ElementPack<scalar_t, N> pack;
  detail::copy_pack<scalar_t, N>(&pack, source);
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = to_float(pack.element[i]);
}

template <int N, typename scalar_t>
__device__ __forceinline__ void store_floats(scalar_t* destination, const float (&x)[N]) {
  ElementPack<scalar_t, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) pack.element[i] = from_float<scalar_t>(x[i]);
  detail::copy_pack<scalar_t, N>(destination, &pack);
}

/// True when rows at these strides all start on a 16-byte boundary. A null pointer is aligned.
template <typename scalar_t>
inline bool is_vector_aligned(const scalar_t* data, int64_t batch_stride = 0, int64_t time_stride = 0) {
  constexpr int64_t kElements = 16 / static_cast<int64_t>(sizeof(scalar_t));
  return data == nullptr ||
         (reinterpret_cast<uintptr_t>(data) % 16 == 0 && batch_stride % kElements == 0 && time_stride % kElements == 0);
}

}  // namespace mpeft::kernels
