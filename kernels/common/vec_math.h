#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "kernels/common/sequence.h"

// defines: Vecs, side_by_side, exp2_of_products, kLargestProduct, kLargestPower, exp, sigmoid, softplus, load_lanes,
// store_lanes, widen, DenormalsAreZero
//
// Elementary functions over Vec (include a vec_*.h first). Polynomials are minimax fits (Lawson's iteration, relative
// error) with the constant term fixed at 1, so that 2^0 is exactly 1; errors below are measured over the whole range,
// rounding included.

namespace mpeft::kernels {
namespace {

/// k vectors that go through the steps of a function side by side. One after another, the 50 to 100 cycles of each
/// would have to be hidden by the processor's looking ahead, whose scheduler holds two or three of them.
template <int k>
struct Vecs {
  Vec v[k];
};

/// f(i) for each of k vectors.
template <int k, typename F>
MPEFT_INLINE Vecs<k> side_by_side(const F& f) {
  Vecs<k> r;
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) r.v[i] = f(i);
  return r;
}

template <int k>
MPEFT_INLINE Vecs<k> operator+(const Vecs<k>& a, const Vecs<k>& b) {
  return side_by_side<k>([&](int i) { return a.v[i] + b.v[i]; });
}
template <int k>
MPEFT_INLINE Vecs<k> operator+(const Vecs<k>& a, Vec b) {
  return side_by_side<k>([&](int i) { return a.v[i] + b; });
}
template <int k>
MPEFT_INLINE Vecs<k> operator*(const Vecs<k>& a, const Vecs<k>& b) {
  return side_by_side<k>([&](int i) { return a.v[i] * b.v[i]; });
}

/// c[0] x^m + ... + c[m]
template <int k, typename... Floats>
MPEFT_INLINE Vecs<k> polynomial(const Vecs<k>& x, Floats... coefficients) {
  const float c[] = {coefficients...};
  Vecs<k> p = side_by_side<k>([&](int i) { return fma(Vec::broadcast(c[0]), x.v[i], Vec::broadcast(c[1])); });
#pragma GCC unroll 16
  for (size_t j = 2; j < sizeof...(coefficients); ++j) {
    p = side_by_side<k>([&](int i) { return fma(p.v[i], x.v[i], Vec::broadcast(c[j])); });
  }
  return p;
}

/// 2^(a b_i) of k products, to 2e-7 relative; exactly 0 below the smallest normal number (while DenormalsAreZero),
/// infinity above the largest: a state that decays away is gone, not subnormal. |a b_i| <= kLargestProduct,
/// a b_i <= kLargestPower.
template <int k>
MPEFT_INLINE void exp2_of_products(Vec a, const Vec (&b)[k], Vec (&result)[k]) {
  SplitProduct s[k];
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) s[i] = split_product(a, b[i]);
  const Vecs<k> f = side_by_side<k>([&](int i) { return s[i].f; });
  Vecs<k> p;
  if constexpr (kProductParts == 32) {
    p = polynomial(f, 2.402266011e-01f, 6.931573314e-01f, 1.0f);
  } else if constexpr (kProductParts == 8) {
    p = polynomial(f, 5.549621955e-02f, 2.402576357e-01f, 6.931472421e-01f, 1.0f);
  } else {
    p = polynomial(f, 1.326472707e-03f, 9.671512649e-03f, 5.550733744e-02f, 2.402224209e-01f, 6.931469776e-01f, 1.0f);
  }
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) result[i] = p.v[i] * power_of_two(s[i]);
}
constexpr float kLargestProduct = 0x1p60f, kLargestPower = 128.0f;

/// e^x to 2e-7 relative, x in [-88.02, 88.8]: x is reduced with ln 2 in two parts, so large arguments lose nothing.
template <int k>
MPEFT_INLINE Vecs<k> exp_in_range(const Vecs<k>& x) {
  Exponent e[k];
#pragma GCC unroll 8
  for (int i = 0; i < k; ++i) e[i] = round_exponent(x.v[i] * Vec::broadcast(1.44269504f));
  Vecs<k> f = side_by_side<k>([&](int i) {  // ln 2 with its last 9 bits zero: the product is exact
    return fnma(e[i].n, Vec::broadcast(0.693145752f), x.v[i]);
  });
  f = side_by_side<k>([&](int i) { return fnma(e[i].n, Vec::broadcast(1.42860677e-06f), f.v[i]); });
  Vecs<k> p;
  if constexpr (kExponentParts == 32) {
    p = polynomial(f, 5.000001960e-01f, 1.000014645f, 1.0f);
  } else {
    p = polynomial(f, 1.384365349e-03f, 8.374155316e-03f, 4.166800204e-02f, 1.666643126e-01f, 4.999999420e-01f,
                   1.000000032e+00f, 1.0f);
  }
  return side_by_side<k>([&](int i) { return times_power_of_two(p.v[i], e[i]); });
}

/// e^x
inline Vec exp(Vec x) { return exp_in_range<1>({clamp(x, Vec::broadcast(-88.02f), Vec::broadcast(88.8f))}).v[0]; }

/// e^-|x|
template <int k>
MPEFT_INLINE Vecs<k> exp_of_negative_abs(const Vecs<k>& x) {
  return exp_in_range(side_by_side<k>([&](int i) { return at_least(negative_abs(x.v[i]), Vec::broadcast(-88.02f)); }));
}

/// 1 / (1 + e^-x) of e^-|x|, without overflow on either side.
template <int k>
MPEFT_INLINE Vecs<k> sigmoid(const Vecs<k>& x, const Vecs<k>& exp_of_negative_abs_x) {
  const Vecs<k>& e = exp_of_negative_abs_x;
  const Vecs<k> positive = side_by_side<k>([&](int i) { return reciprocal(Vec::broadcast(1.0f) + e.v[i]); });
  const Vecs<k> negative = e * positive;
  return side_by_side<k>([&](int i) { return select_by_sign(x.v[i], positive.v[i], negative.v[i]); });
}
template <int k>
MPEFT_INLINE Vecs<k> sigmoid(const Vecs<k>& x) {
  return sigmoid(x, exp_of_negative_abs(x));
}
inline Vec sigmoid(Vec x) { return sigmoid<1>({x}).v[0]; }

template <int k>
struct Softplus {
  Vecs<k> value;       ///< log(1 + e^x)
  Vecs<k> derivative;  ///< sigmoid(x)
};

/// softplus(x) = max(x, 0) + log1p(e^-|x|), with log1p(e) = e p(e).
template <int k>
MPEFT_INLINE Softplus<k> softplus(const Vecs<k>& x) {
  const Vecs<k> e = exp_of_negative_abs(x);
  const Vecs<k> p = polynomial(e, 5.364804309e-03f, -3.006571224e-02f, 7.920440566e-02f, -1.375379138e-01f,
                               1.915364984e-01f, -2.485716239e-01f, 3.332132246e-01f, -4.999964796e-01f, 1.0f);
  return {side_by_side<k>([&](int i) { return fma(e.v[i], p.v[i], at_least(x.v[i], Vec::zero())); }), sigmoid(x, e)};
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
