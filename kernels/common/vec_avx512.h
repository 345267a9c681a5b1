#pragma once

#include <cstdint>
#include <immintrin.h>

#include "kernels/common/half.h"

// defines: Vec (16 lanes)
//
// vec_avx2.h, twice as wide: the same operations in the same order. Instructions that gcc 12 implements over an
// undefined vector are written in their zero-masked form, which costs nothing and keeps -Wmaybe-uninitialized quiet.

namespace mpeft::kernels {
namespace {

struct Vec {
  static constexpr int64_t kLanes = 16;
  static constexpr int kRegisters = 32;
  static constexpr int kSideBySide = 4;
  static constexpr __mmask16 kAll = 0xffff;
  __m512 v;

  static inline Vec broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static inline Vec zero() { return {_mm512_setzero_ps()}; }

  static inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static inline Vec load(const BFloat16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, _mm512_maskz_cvtepu16_epi32(kAll, bits), 16))};
  }
  static inline Vec load(const Half* p) {
    return {_mm512_maskz_cvtph_ps(kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }

  inline void store(float* p) const { _mm512_storeu_ps(p, v); }
  /// To memory past the caches, a line at once; p is aligned. Other threads see it after end_streams.
  static constexpr bool kStreams = true;
  inline void stream(float* p) const { _mm512_stream_ps(p, v); }
  static inline void end_streams() { _mm_sfence(); }
  inline void store(BFloat16* p) const {  // to nearest even; NaN keeps its upper bits and becomes quiet
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_maskz_srli_epi32(kAll, bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i upper = _mm512_maskz_srli_epi32(kAll, _mm512_mask_blend_epi32(is_nan, rounded, quiet), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtepi32_epi16(kAll, upper));
  }
  inline void store(Half* p) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_maskz_cvtps_ph(kAll, v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  /// The sum of the lanes, always in the same order.
  inline float sum() const {
    const __m256 half =
        _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  /// The sums of the lanes of kLanes vectors behind one another, always in the same order.
  static inline Vec sums(const float* p) {
    const auto row = [p](int i) __attribute__((always_inline)) { return _mm512_loadu_ps(p + i * kLanes); };
    // Rows i and i + 1: in each quarter two partial sums of either.
    const auto pair = [&](int i) __attribute__((always_inline)) {
      return _mm512_add_ps(_mm512_maskz_unpacklo_ps(kAll, row(i), row(i + 1)),
                           _mm512_maskz_unpackhi_ps(kAll, row(i), row(i + 1)));
    };
    // Rows i to i + 3: in each quarter one of each.
    const auto four = [&](int i) __attribute__((always_inline)) {
      const __m512 a = pair(i), b = pair(i + 2);
      return _mm512_add_ps(_mm512_maskz_shuffle_ps(kAll, a, b, 0x44), _mm512_maskz_shuffle_ps(kAll, a, b, 0xee));
    };
    const auto halves = [](__m512 a, __m512 b) __attribute__((always_inline)) {
      return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(kAll, a, b, 0x44), _mm512_maskz_shuffle_f32x4(kAll, a, b, 0xee));
    };
    const __m512 first = halves(four(0), four(4)), last = halves(four(8), four(12));
    return {_mm512_add_ps(_mm512_maskz_shuffle_f32x4(kAll, first, last, 0x88),
                          _mm512_maskz_shuffle_f32x4(kAll, first, last, 0xdd))};
  }
};

inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
/// a b + c
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
/// c - a b
inline Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
/// x inside [lo, hi]; NaN stays NaN (these instructions return their second operand then).
inline Vec clamp(Vec x, Vec lo, Vec hi) {
  return {_mm512_maskz_min_ps(Vec::kAll, hi.v, _mm512_maskz_max_ps(Vec::kAll, lo.v, x.v))};
}
/// max(x, lo); x where either is NaN.
inline Vec at_least(Vec x, Vec lo) { return {_mm512_maskz_max_ps(Vec::kAll, lo.v, x.v)}; }
/// min(x, hi); x where either is NaN.
inline Vec at_most(Vec x, Vec hi) { return {_mm512_maskz_min_ps(Vec::kAll, hi.v, x.v)}; }
/// 1 / x of an ordinary x, to 1.2e-7: a division would take the divider 10 cycles.
inline Vec reciprocal(Vec x) {
  const __m512 r = _mm512_maskz_rcp14_ps(Vec::kAll, x.v);
  return {_mm512_fmadd_ps(r, _mm512_fnmadd_ps(r, x.v, _mm512_set1_ps(1.0f)), r)};
}
/// -|x|
inline Vec negative_abs(Vec x) { return {_mm512_or_ps(x.v, _mm512_set1_ps(-0.0f))}; }
/// Lane by lane: b where the sign bit of x is set, else a.
inline Vec select_by_sign(Vec x, Vec a, Vec b) {
  return {_mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x.v)), a.v, b.v)};
}

// Powers of two, 2^n with n a multiple of 1/32: a table of 32 (two registers) for the fraction of n, and scaling by
// 2^floor(n), one instruction with exact limits of its own, 0 and infinity included. Adding 1.5 * 2^18 rounds to a
// multiple of 1/32 and leaves these in the low mantissa bits, where the table look-up wants them.
constexpr float kRoundTo32nd = 393216.0f;
constexpr int kExponentParts = 32, kProductParts = 32;

/// A multiple of 1/32, and what times_power_of_two wants to know it by.
struct Exponent {
  Vec n, code;
};
/// The multiple of 1/32 nearest to x.
inline Exponent round_exponent(Vec x) {
  const Vec code = x + Vec::broadcast(kRoundTo32nd);
  return {code - Vec::broadcast(kRoundTo32nd), code};
}
/// 2^n
inline Vec power_of_two(const Exponent& e) {
  const __m512 first = _mm512_setr_ps(1.0f, 1.0218972f, 1.04427373f, 1.06714046f, 1.09050775f, 1.1143868f, 1.13878858f,
                                      1.1637249f, 1.18920708f, 1.21524739f, 1.24185777f, 1.26905096f, 1.29683959f,
                                      1.32523668f, 1.35425556f, 1.38390994f);
  const __m512 second = _mm512_setr_ps(1.41421354f, 1.44518077f, 1.47682619f, 1.50916445f, 1.54221082f, 1.5759809f,
                                       1.61049032f, 1.64575553f, 1.68179286f, 1.71861935f, 1.75625217f, 1.79470909f,
                                       1.8340081f, 1.87416768f, 1.91520655f, 1.95714414f);
  const __m512 fraction = _mm512_permutex2var_ps(first, _mm512_castps_si512(e.code.v), second);
  return {_mm512_maskz_scalef_ps(Vec::kAll, fraction, e.n.v)};
}
/// p 2^n
inline Vec times_power_of_two(Vec p, const Exponent& e) { return p * power_of_two(e); }

// Powers of two of a product: a b = n + f, n as above. The fraction is taken of the product before rounding.
struct SplitProduct {
  Vec f;
  Exponent n;
};
/// |a b| <= 2^60: far beyond, f times f overflows.
inline SplitProduct split_product(Vec a, Vec b) {
  const Vec code = fma(a, b, Vec::broadcast(kRoundTo32nd));
  const Vec n = code - Vec::broadcast(kRoundTo32nd);
  return {{_mm512_fmsub_ps(a.v, b.v, n.v)}, {n, code}};
}
/// 2^n
inline Vec power_of_two(const SplitProduct& s) { return power_of_two(s.n); }

}  // namespace
}  // namespace mpeft::kernels
