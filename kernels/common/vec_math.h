#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "kernels/common/sequence.h"

// defines: exp2_of_products, kLargestProduct, kLargestPower, exp, sigmoid, softplus, load_lanes, store_lanes, widen,
// DenormalsAreZero
//
// Elementary functions over Vec (include a vec_*.h first). Polynomials are minimax fits (Lawson's iteration, relative
// error) with the constant term fixed at 1, so that 2^0 is exactly 1; errors below are measured over the whole range,
// rounding included.

namespace mpeft::kernels {
namespace {

/// 2^(a b_i) of k products, to 1.7e-7 relative; exactly 0 below the smallest normal number (while DenormalsAreZero),
/// infinity above the largest: a state that decays away is gone, not subnormal. |a b_i| <= kLargestProduct,
/// a b_i <= kLargestPower.
///
/// The k go through each step side by side: one after another, the 35 cycles of each would have to be hidden by the
/// processor's looking ahead.
template <int k>
inline void exp2_of_products(Vec a, const Vec (&b)[k], Vec (&result)[k]) {
  SplitProduct s[k];
  Vec p[k];
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) s[i] = split_product(a, b[i]);
  const auto horner = [&](auto... coefficients) __attribute__((always_inline)) {
    const float c[] = {coefficients...};
#pragma GCC unroll 8
    for (int i = 0; i < k; ++i) p[i] = Vec::broadcast(c[0]);
#pragma GCC unroll 8
    for (size_t j = 1; j < sizeof...(coefficients); ++j) {
#pragma GCC unroll 8
      for (int i = 0; i < k; ++i) p[i] = fma(p[i], s[i].f, Vec::broadcast(c[j]));
    }
  };
  if constexpr (kSplitsToEighths) {
    horner(5.549621955e-02f, 2.402576357e-01f, 6.931472421e-01f, 1.0f);
  } else {
    horner(1.326472707e-03f, 9.671512649e-03f, 5.550733744e-02f, 2.402224209e-01f, 6.931469776e-01f, 1.0f);
  }
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) result[i] = p[i] * power_of_two(s[i]);
}
constexpr float kLargestProduct = 0x1p60f, kLargestPower = 128.0f;

/// e^x to 1.5e-7 relative: x is reduced with ln 2 in two parts, so large arguments lose nothing.
inline Vec exp(Vec x) {
  x = clamp(x, Vec::broadcast(-88.02f), Vec::broadcast(88.8f));
  const Exponent e = round_exponent(x * Vec::broadcast(1.44269504f));
  Vec f = fnma(e.n, Vec::broadcast(0.693145752f), x);  // ln 2 with its last 9 bits zero: the product is exact
  f = fnma(e.n, Vec::broadcast(1.42860677e-06f), f) * Vec::broadcast(1.44269504f);
  Vec p = Vec::broadcast(1.535336189e-04f);
  p = fma(p, f, Vec::broadcast(1.339887442e-03f));
  p = fma(p, f, Vec::broadcast(9.618437358e-03f));
  p = fma(p, f, Vec::broadcast(5.550332471e-02f));
  p = fma(p, f, Vec::broadcast(2.402264791e-01f));
  p = fma(p, f, Vec::broadcast(6.931472029e-01f));
  p = fma(p, f, Vec::broadcast(1.0f));
  return times_power_of_two(p, e);
}

/// 1 / (1 + e^-x), without overflow on either side.
inline Vec sigmoid(Vec x) {
  const Vec e = exp(negative_abs(x));
  const Vec positive = Vec::broadcast(1.0f) / (Vec::broadcast(1.0f) + e);
  return select_by_sign(x, positive, e * positive);
}

struct Softplus {
  Vec value;       ///< log(1 + e^x)
  Vec derivative;  ///< sigmoid(x)
};

/// softplus(x) = max(x, 0) + log1p(e^-|x|), with log1p(e) = 2 atanh(e / (2 + e)).
inline Softplus softplus(Vec x) {
  const Vec one = Vec::broadcast(1.0f);
  const Vec e = exp(negative_abs(x));
  const Vec s = e / (Vec::broadcast(2.0f) + e);  // in [0, 1/3]
  const Vec s2 = s * s;
  Vec p = Vec::broadcast(1.400599350e-01f);
  p = fma(p, s2, Vec::broadcast(1.400090262e-01f));
  p = fma(p, s2, Vec::broadcast(2.001076362e-01f));
  p = fma(p, s2, Vec::broadcast(3.333320814e-01f));
  p = fma(p, s2, one);
  const Vec log1p_e = (s + s) * p;
  const Vec positive = one / (one + e);
  return {log1p_e + select_by_sign(x, x, Vec::zero()), select_by_sign(x, positive, e * positive)};
}

/// The first `lanes` elements at p, zeros behind them.
template <typename scalar_t>
inline Vec load_lanes(const scalar_t* p, int64_t lanes) {
  if (lanes == Vec::kLanes) return Vec::load(p);
  scalar_t padded[Vec::kLanes] = {};
  std::memcpy(padded, p, static_cast<size_t>(lanes) * sizeof(scalar_t));
  return Vec::load(padded);
}

/// Stores the first `lanes` elements.
template <typename scalar_t>
inline void store_lanes(Vec x, scalar_t* p, int64_t lanes) {
  if (lanes == Vec::kLanes) return x.store(p);
  scalar_t padded[Vec::kLanes];
  x.store(padded);
  std::memcpy(p, padded, static_cast<size_t>(lanes) * sizeof(scalar_t));
}

/// Elements of group `first` of at most kLanes that a range of `size` has left.
inline int64_t lanes_left(int64_t size, int64_t first) {
  const int64_t left = size - first;
  return left < Vec::kLanes ? left : Vec::kLanes;
}

/// n elements as floats.
template <typename scalar_t>
inline void widen(const scalar_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += Vec::kLanes) {
    const int64_t lanes = lanes_left(n, i);
    store_lanes(load_lanes(from + i, lanes), to + i, lanes);
  }
}

/// While it lives, this thread's vector arithmetic takes and gives 0 for subnormal numbers, which are 100 times slower
/// on some processors and which fading states are full of.
class DenormalsAreZero {
 public:
#if defined(__x86_64__)
  DenormalsAreZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  ~DenormalsAreZero() { _mm_setcsr(saved_); }
#else
  DenormalsAreZero() {}
  ~DenormalsAreZero() {}
#endif
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;

 private:
#if defined(__x86_64__)
  unsigned saved_;
#endif
};

}  // namespace
}  // namespace mpeft::kernels
