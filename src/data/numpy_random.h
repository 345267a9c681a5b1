#pragma once

#include <cstdint>

namespace mpeft::data {

/// NumPy's default bit generator: PCG64 (setseq XSL-RR 128/64; O'Neill 2014) seeded through SeedSequence, so that a
/// seed gives the numbers that `numpy.random.default_rng(seed)` gives.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint64_t seed);
  uint64_t next64();
  /// Low half of a 64-bit number first, then its high half.
  uint32_t next32();
  /// Uniform in [0, high], both ends included: the low bits of 32-bit numbers, drawn again while too large, which is
  /// what shuffles use (not the bounded integers of `Generator.integers`).
  uint32_t up_to(uint32_t high);

 private:
  __extension__ using Uint128 = unsigned __int128;
  void step();

  Uint128 state_ = 0;
  Uint128 increment_ = 0;
  bool has_half_ = false;
  uint32_t half_ = 0;
};

}  // namespace mpeft::data
