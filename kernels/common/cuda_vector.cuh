#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// defines: to_float, from_float, load_floats, store_floats, RawVector, kVectorElements, is_vector_aligned

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

__device__ __forceinline__ float low_of(__nv_bfloat16, uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of(__nv_bfloat16, uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ float low_of(__half, uint32_t pair) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
}
__device__ __forceinline__ float high_of(__half, uint32_t pair) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
}

namespace detail {

__device__ __forceinline__ uint32_t two_of(__nv_bfloat16, float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ uint32_t two_of(__half, float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

/// kWords 32-bit words by accesses of at most 16 bytes, which the compiler would not always find in a loop over
/// elements.
template <int kWords>
__device__ __forceinline__ void load_words(uint32_t (&words)[kWords], const void* source) {
  if constexpr (kWords % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      const uint4 x = static_cast<const uint4*>(source)[i / 4];
      words[i] = x.x, words[i + 1] = x.y, words[i + 2] = x.z, words[i + 3] = x.w;
    }
  } else if constexpr (kWords == 2) {
    const uint2 x = *static_cast<const uint2*>(source);
    words[0] = x.x, words[1] = x.y;
  } else {
    static_assert(kWords == 1);
    words[0] = *static_cast<const uint32_t*>(source);
  }
}

template <int kWords>
__device__ __forceinline__ void store_words(void* destination, const uint32_t (&words)[kWords]) {
  if constexpr (kWords % 4 == 0) {
#pragma unroll
    for (int i = 0; i < kWords; i += 4) {
      static_cast<uint4*>(destination)[i / 4] = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
    }
  } else if constexpr (kWords == 2) {
    *static_cast<uint2*>(destination) = make_uint2(words[0], words[1]);
  } else {
    static_assert(kWords == 1);
    *static_cast<uint32_t*>(destination) = words[0];
  }
}

}  // namespace detail

/// x[0 .. N) from source, which is aligned to min(16, N * sizeof(scalar_t)) bytes.
template <int N, typename scalar_t>
__device__ __forceinline__ void load_floats(float (&x)[N], const scalar_t* source) {
  if constexpr (N * sizeof(scalar_t) < 4) {
    x[0] = to_float(*source);
  } else {
    uint32_t words[N * sizeof(scalar_t) / 4];
    detail::load_words(words, source);
    if constexpr (sizeof(scalar_t) == 4) {
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = __uint_as_float(words[i]);
    } else {
#pragma unroll
      for (int i = 0; i < N; i += 2) {
        x[i] = low_of(scalar_t{}, words[i / 2]);
        x[i + 1] = high_of(scalar_t{}, words[i / 2]);
      }
    }
  }
}

template <int N, typename scalar_t>
__device__ __forceinline__ void store_floats(scalar_t* destination, const float (&x)[N]) {
  if constexpr (N * sizeof(scalar_t) < 4) {
    *destination = from_float<scalar_t>(x[0]);
  } else {
    uint32_t words[N * sizeof(scalar_t) / 4];
    if constexpr (sizeof(scalar_t) == 4) {
#pragma unroll
      for (int i = 0; i < N; ++i) words[i] = __float_as_uint(x[i]);
    } else {
#pragma unroll
      for (int i = 0; i < N; i += 2) words[i / 2] = detail::two_of(scalar_t{}, x[i], x[i + 1]);
    }
    detail::store_words(destination, words);
  }
}

/// N elements as they lie in memory: loaded early, widened when used, at half a float's registers. Zeros until loaded.
template <typename scalar_t, int N>
struct RawVector {
  static constexpr int kWords = (N * static_cast<int>(sizeof(scalar_t)) + 3) / 4;
  uint32_t words[kWords] = {};

  __device__ __forceinline__ void load(const scalar_t* source) {
    if constexpr (N * sizeof(scalar_t) < 4) {
      words[0] = *reinterpret_cast<const uint16_t*>(source);
    } else {
      detail::load_words(words, source);
    }
  }
  __device__ __forceinline__ void widen(float (&x)[N]) const {
    if constexpr (sizeof(scalar_t) == 4) {
#pragma unroll
      for (int i = 0; i < N; ++i) x[i] = __uint_as_float(words[i]);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i)
        x[i] = i % 2 == 0 ? low_of(scalar_t{}, words[i / 2]) : high_of(scalar_t{}, words[i / 2]);
    }
  }
  /// The opposite of widen, of 16-bit elements: rounds.
  __device__ __forceinline__ void narrow(const float (&x)[N]) {
    static_assert(sizeof(scalar_t) == 2 && N % 2 == 0);
#pragma unroll
    for (int i = 0; i < N; i += 2) words[i / 2] = detail::two_of(scalar_t{}, x[i], x[i + 1]);
  }
  __device__ __forceinline__ void store(scalar_t* destination) const {
    static_assert(N * sizeof(scalar_t) >= 4);
    detail::store_words(destination, words);
  }
};

/// True when rows at these strides all start on a 16-byte boundary. A null pointer is aligned.
template <typename scalar_t>
inline bool is_vector_aligned(const scalar_t* data, int64_t batch_stride = 0, int64_t time_stride = 0) {
  constexpr int64_t kElements = 16 / static_cast<int64_t>(sizeof(scalar_t));
  return data == nullptr ||
         (reinterpret_cast<uintptr_t>(data) % 16 == 0 && batch_stride % kElements == 0 && time_stride % kElements == 0);
}

}  // namespace mpeft::kernels
