#pragma once

#include <cstdint>
#include <cstring>

// defines: BFloat16, Half, to_acc, from_acc
//
// The 16-bit floating types of the CPU kernels: storage only, bit-compatible with at::BFloat16 and at::Half. Arithmetic
// widens to float and rounds to nearest even once, when a result is stored.

namespace mpeft::kernels {

/// The upper half of a float.
struct BFloat16 {
  uint16_t bits;
};

/// IEEE 754 binary16.
struct Half {
  uint16_t bits;
};

namespace half_detail {

inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline bool is_nan(uint32_t bits) { return (bits & 0x7fffffffu) > 0x7f800000u; }

}  // namespace half_detail

inline double to_acc(double x) { return x; }
inline float to_acc(float x) { return x; }
inline float to_acc(BFloat16 x) { return half_detail::float_of(static_cast<uint32_t>(x.bits) << 16); }
inline float to_acc(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return half_detail::float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);  // inf, NaN
  if (magnitude < 0x400u) {  // zero or subnormal: magnitude * 2^-24, exact in float
    const float value = static_cast<float>(magnitude) * 5.9604644775390625e-8f;
    return half_detail::float_of(sign | half_detail::bits_of(value));
  }
  return half_detail::float_of(sign | ((magnitude << 13) + (112u << 23)));
}

inline void from_acc(double x, double& out) { out = x; }
inline void from_acc(float x, float& out) { out = x; }
inline void from_acc(float x, BFloat16& out) {
  const uint32_t bits = half_detail::bits_of(x);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  out.bits = static_cast<uint16_t>(half_detail::is_nan(bits) ? (bits >> 16) | 0x40u : rounded >> 16);
}
inline void from_acc(float x, Half& out) {
  const uint32_t bits = half_detail::bits_of(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;  // NaN
  } else if (magnitude >= 0x47800000u) {
    half = 0x7c00u;                       // 65536 and above: infinity
  } else if (magnitude >= 0x38800000u) {  // normal; a carry out of the mantissa raises the exponent, up to infinity
    const uint32_t rebiased = magnitude - (112u << 23);
    half = (rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13;
  } else {  // subnormal: adding 0.5 leaves round(x / 2^-24) in the low mantissa bits, rounded to nearest even
    half = half_detail::bits_of(half_detail::float_of(magnitude) + 0.5f) - half_detail::bits_of(0.5f);
  }
  out.bits = static_cast<uint16_t>(sign | half);
}

}  // namespace mpeft::kernels
