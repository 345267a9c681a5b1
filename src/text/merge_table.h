#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mpeft/text/tokenizer.h"

namespace mpeft::text {

/// The merges of a BPE vocabulary: (left id, right id) -> (rank, merged id), a flat table with linear probing.
class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  struct Merge {
    uint32_t rank = kNoRank;
    TokenId id = -1;
  };

  /// Room for `n` merges.
  explicit MergeTable(size_t n = 0);

  /// A pair that is already there takes the new value. At most `n` different pairs.
  void insert(TokenId left, TokenId right, Merge merge);

  Merge find(TokenId left, TokenId right) const {
    const uint64_t key = key_of(left, right);
    for (size_t i = slot_of(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kEmpty) return {};
    }
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids are not negative
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };

  static uint64_t key_of(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const { return static_cast<size_t>(key * 0x9E3779B97F4A7C15 >> shift_); }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  int shift_ = 63;
};

}  // namespace mpeft::text
