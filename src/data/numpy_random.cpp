#include "data/numpy_random.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace mpeft::data {
namespace {

// NumPy's SeedSequence (after O'Neill's seed_seq_fe): entropy words hashed into a pool of four, the pool into the
// state.
class SeedSequence {
 public:
  explicit SeedSequence(uint64_t seed) {
    const std::array<uint32_t, 4> entropy = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32), 0, 0};
    for (size_t i = 0; i < 4; ++i) pool_[i] = hash(entropy[i]);
    for (size_t source = 0; source < 4; ++source) {
      for (size_t target = 0; target < 4; ++target) {
        if (source != target) pool_[target] = mix(pool_[target], hash(pool_[source]));
      }
    }
  }

  // Four 64-bit words, the low half of each made first.
  std::array<uint64_t, 4> state() const {
    std::array<uint64_t, 4> words{};
    uint32_t constant = 0x8b51f9dd;
    for (size_t i = 0; i < 8; ++i) {
      uint32_t value = pool_[i % 4] ^ constant;
      constant *= 0x58f38ded;
      value *= constant;
      value ^= value >> 16;
      words[i / 2] |= static_cast<uint64_t>(value) << (i % 2 == 0 ? 0 : 32);
    }
    return words;
  }

 private:
  uint32_t hash(uint32_t value) {
    value ^= constant_;
    constant_ *= 0x931e8875;
    value *= constant_;
    return value ^ (value >> 16);
  }

  static uint32_t mix(uint32_t x, uint32_t y) {
    const uint32_t result = 0xca01f9ddU * x - 0x4973f715U * y;
    return result ^ (result >> 16);
  }

  std::array<uint32_t, 4> pool_{};
  uint32_t constant_ = 0x43b0d7e5;
};

}  // namespace

NumpyRandom::NumpyRandom(uint64_t seed) {
  const auto words = SeedSequence(seed).state();
  const Uint128 initial = (static_cast<Uint128>(words[0]) << 64) | words[1];
  const Uint128 sequence = (static_cast<Uint128>(words[2]) << 64) | words[3];
  increment_ = (sequence << 1) | 1;
  step();
  state_ += initial;
  step();
}

void NumpyRandom::step() {
  constexpr Uint128 kMultiplier = (static_cast<Uint128>(2549297995355413924ULL) << 64) | 4865540595714422341ULL;
  state_ = state_ * kMultiplier + increment_;
}

uint64_t NumpyRandom::next64() {
  step();
  const uint64_t folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  const auto rotation = static_cast<unsigned>(state_ >> 122);
  return (folded >> rotation) | (folded << ((64 - rotation) & 63));
}

uint32_t NumpyRandom::next32() {
  if (has_half_) {
    has_half_ = false;
    return half_;
  }
  const uint64_t both = next64();
  has_half_ = true;
  half_ = static_cast<uint32_t>(both >> 32);
  return static_cast<uint32_t>(both);
}

uint32_t NumpyRandom::up_to(uint32_t high) {
  if (high == 0) return 0;  // draws nothing, as NumPy
  const uint32_t mask = UINT32_MAX >> std::countl_zero(high);
  uint32_t value;
  do {
    value = next32() & mask;
  } while (value > high);
  return value;
}

}  // namespace mpeft::data
