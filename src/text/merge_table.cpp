#include "text/merge_table.h"

#include <algorithm>
#include <bit>

namespace mpeft::text {

MergeTable::MergeTable(size_t n) {
  const size_t slots =
      std::bit_ceil(std::max<size_t>(4, 2 * n));  // at most half full: a miss ends after a probe or two
  slots_.resize(slots);
  mask_ = slots - 1;
  shift_ = 64 - std::countr_zero(slots);
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  const uint64_t key = key_of(left, right);
  size_t i = slot_of(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, merge};
}

}  // namespace mpeft::text
