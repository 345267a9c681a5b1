#include "data/python_random.h"

#include <algorithm>
#include <bit>

namespace mpeft::data {

PythonRandom::PythonRandom(uint64_t seed) {
  // init_genrand(19650218), then init_by_array(words of the seed).
  state_[0] = 19650218U;
  for (uint32_t i = 1; i < kN; ++i) state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const uint32_t length = key[1] != 0 ? 2 : 1;
  uint32_t i = 1, j = 0;
  const auto advance = [&] {
    if (++i >= kN) {
      state_[0] = state_[kN - 1];
      i = 1;
    }
  };
  for (uint32_t k = std::max(kN, length); k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525U)) + key[j] + j;
    advance();
    if (++j >= length) j = 0;
  }
  for (uint32_t k = kN - 1; k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941U)) - i;
    advance();
  }
  state_[0] = 0x80000000U;
}

void PythonRandom::refill() {
  constexpr uint32_t kM = 397;
  for (uint32_t k = 0; k < kN; ++k) {
    const uint32_t y = (state_[k] & 0x80000000U) | (state_[(k + 1) % kN] & 0x7fffffffU);
    state_[k] = state_[(k + kM) % kN] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfU : 0U);
  }
  position_ = 0;
}

uint32_t PythonRandom::next32() {
  if (position_ >= kN) refill();
  uint32_t y = state_[position_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

uint32_t PythonRandom::below(uint32_t bound) {
  const int n_bits = std::bit_width(bound);
  uint32_t value;
  do {
    value = next32() >> (32 - n_bits);
  } while (value >= bound);
  return value;
}

}  // namespace mpeft::data
