#pragma once

#include <cstdint>

#include "kernels/common/half.h"

// defines: Vec (4 lanes)
//
// vec_avx2.h in the vector extension of gcc and clang: SSE2, NEON, or whatever the target's baseline has.

namespace mpeft::kernels {
namespace {

struct Vec {
  static constexpr int64_t kLanes = 4;
  static constexpr int kRegisters = 16;
  static constexpr int kSideBySide = 1;
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Ints __attribute__((vector_size(16)));
  Floats v;

  static inline Vec broadcast(float x) { return {Floats{x, x, x, x}}; }
  static inline Vec zero() { return broadcast(0.0f); }

  template <typename scalar_t>
  static inline Vec load(const scalar_t* p) {
    return {Floats{to_acc(p[0]), to_acc(p[1]), to_acc(p[2]), to_acc(p[3])}};
  }
  template <typename scalar_t>
  inline void store(scalar_t* p) const {
    for (int64_t i = 0; i < kLanes; ++i) from_acc(v[i], p[i]);
  }

  static constexpr bool kStreams = false;  // a vector is less than a line
  inline void stream(float* p) const { store(p); }
  static inline void end_streams() {}

  /// The sum of the lanes, always in the same order.
  inline float sum() const { return (v[0] + v[2]) + (v[1] + v[3]); }

  /// The sums of the lanes of kLanes vectors behind one another, always in the same order.
  static inline Vec sums(const float* p) {
    return {Floats{load(p).sum(), load(p + kLanes).sum(), load(p + 2 * kLanes).sum(), load(p + 3 * kLanes).sum()}};
  }
};

inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
/// a b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
/// c - a b
inline Vec fnma(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }
/// x inside [lo, hi]; NaN stays NaN.
inline Vec clamp(Vec x, Vec lo, Vec hi) {
  const Vec::Floats raised = lo.v > x.v ? lo.v : x.v;
  return {hi.v < raised ? hi.v : raised};
}
/// max(x, lo); x where either is NaN.
inline Vec at_least(Vec x, Vec lo) { return {lo.v > x.v ? lo.v : x.v}; }
/// min(x, hi); x where either is NaN.
inline Vec at_most(Vec x, Vec hi) { return {hi.v < x.v ? hi.v : x.v}; }
/// 1 / x
inline Vec reciprocal(Vec x) { return Vec::broadcast(1.0f) / x; }
/// -|x|
inline Vec negative_abs(Vec x) { return {(Vec::Floats)((Vec::Ints)x.v | INT32_MIN)}; }
/// Lane by lane: b where the sign bit of x is set, else a.
inline Vec select_by_sign(Vec x, Vec a, Vec b) { return {(Vec::Ints)x.v < 0 ? b.v : a.v}; }

// Powers of two, n in p 2^n. Adding 1.5 * 2^23 + 127 rounds to the nearest integer n and leaves n + 127 in the low
// mantissa bits: the exponent field of 2^n. -127 gives the field of 0, 128 that of infinity: both ends saturate
// exactly.
constexpr float kRoundAndBias = 12582912.0f + 127.0f;

constexpr int kExponentParts = 1;
/// An integer n, and what times_power_of_two wants to know it by.
struct Exponent {
  Vec n, code;
};
/// x such that round_exponent works on it.
inline Vec limit_exponent(Vec x) { return clamp(x, Vec::broadcast(-127.0f), Vec::broadcast(128.0f)); }
/// The integer nearest to x.
inline Exponent round_exponent(Vec x) {
  const Vec code = x + Vec::broadcast(kRoundAndBias);
  return {code - Vec::broadcast(kRoundAndBias), code};
}
/// p 2^n
inline Vec times_power_of_two(Vec p, const Exponent& e) { return p * Vec{(Vec::Floats)((Vec::Ints)e.code.v << 23)}; }

// Powers of two of a product: a b = n + f, n an integer.
constexpr int kProductParts = 1;

struct SplitProduct {
  Vec f;
  Exponent n;
};
/// |a b| may be infinite.
inline SplitProduct split_product(Vec a, Vec b) {
  const Vec x = limit_exponent(a * b);
  const Exponent e = round_exponent(x);
  return {x - e.n, e};
}
/// 2^n
inline Vec power_of_two(const SplitProduct& s) { return times_power_of_two(Vec::broadcast(1.0f), s.n); }

}  // namespace
}  // namespace mpeft::kernels
