#pragma once

#include <array>
#include <cstdint>

namespace mpeft::data {

/// Python's `random.Random(seed)`: MT19937 (Matsumoto and Nishimura 1998) initialised by the array of the seed's 32-bit
/// words.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t next32();
  /// Uniform in [0, bound) as Random._randbelow: the highest bits, drawn again while too large. bound > 0.
  uint32_t below(uint32_t bound);

 private:
  static constexpr uint32_t kN = 624;
  void refill();

  std::array<uint32_t, kN> state_{};
  uint32_t position_ = kN;
};

}  // namespace mpeft::data
