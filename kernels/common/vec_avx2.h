#pragma once

#include <cstdint>
#include <immintrin.h>

#include "kernels/common/half.h"

// defines: Vec (8 lanes)
//
// One of vec_avx2.h, vec_avx512.h, vec_portable.h gives a translation unit its Vec; vec_math.h and the <op>/cpu_simd.h
// files are written against it. Everything is in an unnamed namespace: code compiled with an instruction set that the
// processor may lack must never be merged by the linker with another unit's copy of the same inline function.

namespace mpeft::kernels {
namespace {

struct Vec {
  static constexpr int64_t kLanes = 8;
  static constexpr int kRegisters = 16;
  static constexpr int kSideBySide = 1;  // of 16 registers: two exponentials side by side leave none for the states
  __m256 v;

  static inline Vec broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static inline Vec zero() { return {_mm256_setzero_ps()}; }

  static inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static inline Vec load(const BFloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  static inline Vec load(const Half* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }

  inline void store(float* p) const { _mm256_storeu_ps(p, v); }
  static constexpr bool kStreams = false;  // a vector is less than a line
  inline void stream(float* p) const { store(p); }
  static inline void end_streams() {}
  inline void store(BFloat16* p) const {  // to nearest even; NaN keeps its upper bits and becomes quiet
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  inline void store(Half* p) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  /// The sum of the lanes, always in the same order.
  inline float sum() const {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  /// The sums of the lanes of kLanes vectors behind one another, always in the same order.
  static inline Vec sums(const float* p) {
    const auto pair = [p](int i) __attribute__((always_inline)) {
      return _mm256_hadd_ps(_mm256_loadu_ps(p + i * kLanes), _mm256_loadu_ps(p + (i + 1) * kLanes));
    };
    const __m256 first = _mm256_hadd_ps(pair(0), pair(2)), last = _mm256_hadd_ps(pair(4), pair(6));  // of half vectors
    return {_mm256_add_ps(_mm256_permute2f128_ps(first, last, 0x20), _mm256_permute2f128_ps(first, last, 0x31))};
  }
};

inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
/// a b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
/// c - a b
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
/// x inside [lo, hi]; NaN stays NaN (these instructions return their second operand then).
inline Vec clamp(Vec x, Vec lo, Vec hi) { return {_mm256_min_ps(hi.v, _mm256_max_ps(lo.v, x.v))}; }
/// max(x, lo); x where either is NaN.
inline Vec at_least(Vec x, Vec lo) { return {_mm256_max_ps(lo.v, x.v)}; }
/// min(x, hi); x where either is NaN.
inline Vec at_most(Vec x, Vec hi) { return {_mm256_min_ps(hi.v, x.v)}; }
/// 1 / x
inline Vec reciprocal(Vec x) { return Vec::broadcast(1.0f) / x; }
/// -|x|
inline Vec negative_abs(Vec x) { return {_mm256_or_ps(x.v, _mm256_set1_ps(-0.0f))}; }
/// Lane by lane: b where the sign bit of x is set, else a.
inline Vec select_by_sign(Vec x, Vec a, Vec b) { return {_mm256_blendv_ps(a.v, b.v, x.v)}; }

// Powers of two, n in p 2^n. Adding 1.5 * 2^23 + 127 rounds to the nearest integer n and leaves n + 127 in the low
// mantissa bits: the exponent field of 2^n. -127 gives the field of 0, 128 that of infinity: both ends saturate
// exactly.
constexpr float kRoundAndBias = 12582912.0f + 127.0f;

constexpr int kExponentParts = 1;
/// An integer n, and what times_power_of_two wants to know it by.
struct Exponent {
  Vec n, code;
};
/// The integer nearest to x.
inline Exponent round_exponent(Vec x) {
  const Vec code = x + Vec::broadcast(kRoundAndBias);
  return {code - Vec::broadcast(kRoundAndBias), code};
}
/// p 2^n
inline Vec times_power_of_two(Vec p, const Exponent& e) {
  return p * Vec{_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(e.code.v), 23))};
}

// Powers of two of a product, in eighths: a b = n + f, n a multiple of 1/8. Adding 1.5 * 2^20 + 127 rounds to it and
// leaves n + 127, in units of 1/8, in the low mantissa bits. Shifted by 20 they are the exponent field, as above, with
// the eighths behind it, for which a table then puts the mantissa of their power of two.
constexpr int kProductParts = 8;
constexpr float kRoundToEighth = 1572864.0f + 127.0f;

struct SplitProduct {
  Vec f, code;
};
/// a b <= 128, where the exponent field ends.
inline SplitProduct split_product(Vec a, Vec b) {
  const Vec x{_mm256_max_ps(_mm256_set1_ps(-127.0f), (a * b).v)};  // NaN stays NaN, as in clamp
  const Vec code = x + Vec::broadcast(kRoundToEighth);
  return {x - (code - Vec::broadcast(kRoundToEighth)), code};
}
/// 2^n; numbers below the normal ones have lost their value, which DenormalsAreZero makes 0.
inline Vec power_of_two(const SplitProduct& s) {
  // bits of 2^(i / 8), less those of 1, less i << 20
  const __m256i mantissas = _mm256_setr_epi32(0, -289342, -509968, -655657, -719629, -694486, -572163, -343865);
  const __m256i code = _mm256_castps_si256(s.code.v);
  const __m256i mantissa = _mm256_permutevar8x32_epi32(mantissas, code);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(code, 20), mantissa))};
}

}  // namespace
}  // namespace mpeft::kernels
