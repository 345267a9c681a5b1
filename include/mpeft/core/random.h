#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace mpeft {

/// Derives an independent seed for a purpose ("shuffle", "dropout", …) from the run's one seed (SplitMix64 of both).
uint64_t derive_seed(uint64_t seed, std::string_view purpose, uint64_t index = 0);

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64: the same numbers on every platform, unlike the
/// standard library's distributions.
class Random {
 public:
  explicit Random(uint64_t seed);
  uint64_t next();
  /// Uniform in [0, bound), without bias (Lemire 2019). bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1), 53 bits.
  double uniform();

 private:
  uint64_t state_[4];
};

/// 0 … n-1 in an order drawn from `seed` (Fisher-Yates).
std::vector<int64_t> permutation(int64_t n, uint64_t seed);

}  // namespace mpeft
