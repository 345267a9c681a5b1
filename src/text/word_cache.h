#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "mpeft/text/tokenizer.h"

namespace mpeft::text {

/// Ids of words seen before: a direct-mapped table of a fixed size that any number of threads may read and write.
///
/// Each slot is guarded by a version number (a sequence lock): odd while a writer is inside. Readers never wait: a slot
/// that is being written, or was written while they read, is a miss; so is a word that another one has pushed out.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 24;  ///< longer words are not kept
  static constexpr size_t kMaxIds = 8;     ///< nor words of more ids

  /// A word's bytes padded with zeros, and their hash.
  struct Key {
    std::array<uint64_t, 3> bytes{};
    uint64_t hash = 0;
    uint32_t length = 0;
  };

  /// `word` of at most kMaxBytes; `readable` bytes may be read from its first one (>= its length).
  static Key key_of(std::string_view word, size_t readable) {
    Key key;
    key.length = static_cast<uint32_t>(word.size());
    if (readable >= kMaxBytes) {  // three plain loads and a mask beat a copy of variable length
      std::memcpy(key.bytes.data(), word.data(), kMaxBytes);
      for (size_t i = 0; i < 3; ++i) {
        const size_t begin = 8 * i;
        if (word.size() <= begin) {
          key.bytes[i] = 0;
        } else if (word.size() < begin + 8) {
          key.bytes[i] &= (uint64_t{1} << 8 * (word.size() - begin)) - 1;
        }
      }
    } else {
      std::memcpy(key.bytes.data(), word.data(), word.size());
    }
    constexpr uint64_t kMix = 0x9E3779B97F4A7C15;
    uint64_t h = (key.bytes[0] ^ key.length) * kMix;
    h = (h ^ h >> 32 ^ key.bytes[1]) * kMix;
    h = (h ^ h >> 32 ^ key.bytes[2]) * kMix;
    key.hash = h ^ h >> 29;
    return key;
  }

  /// Appends the ids of the word to `out`; false when it is not here.
  bool find(const Key& key, std::vector<TokenId>& out) const {
    const Slot& slot = slots_[key.hash % kSlots];
    const uint32_t version = slot.version.load(std::memory_order_acquire);
    const uint32_t sizes = slot.sizes.load(std::memory_order_acquire);
    if ((version & 1) != 0 || sizes >> 8 != key.length || sizes == 0) return false;
    for (size_t i = 0; i < 3; ++i) {
      if (slot.bytes[i].load(std::memory_order_acquire) != key.bytes[i]) return false;
    }
    std::array<TokenId, kMaxIds> ids;
    const size_t n = sizes & 0xFF;
    for (size_t i = 0; i < n; ++i) ids[i] = slot.ids[i].load(std::memory_order_acquire);
    if (slot.version.load(std::memory_order_relaxed) != version) return false;
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
    return true;
  }

  /// Keeps the ids of the word unless there are too many or another thread is writing to its slot.
  void insert(const Key& key, const TokenId* ids, size_t n) {
    if (n > kMaxIds || key.length == 0) return;
    Slot& slot = slots_[key.hash % kSlots];
    uint32_t version = slot.version.load(std::memory_order_relaxed);
    if ((version & 1) != 0 || !slot.version.compare_exchange_strong(version, version + 1, std::memory_order_acq_rel)) {
      return;
    }
    // Release stores: none of them may be seen before the odd version (fences would do, but ThreadSanitizer does not
    // understand them, and on x86 both are plain moves).
    for (size_t i = 0; i < 3; ++i) slot.bytes[i].store(key.bytes[i], std::memory_order_release);
    for (size_t i = 0; i < n; ++i) slot.ids[i].store(ids[i], std::memory_order_release);
    slot.sizes.store(key.length << 8 | static_cast<uint32_t>(n), std::memory_order_release);
    slot.version.store(version + 2, std::memory_order_release);
  }

 private:
  struct alignas(64) Slot {
    std::atomic<uint32_t> version{0};
    std::atomic<uint32_t> sizes{0};  // bytes << 8 | ids; 0 = empty
    std::array<std::atomic<uint64_t>, 3> bytes{};
    std::array<std::atomic<TokenId>, kMaxIds> ids{};
  };
  static_assert(sizeof(Slot) == 64);
  static constexpr size_t kSlots = size_t{1} << 16;  // 4 MiB

  std::unique_ptr<Slot[]> slots_ = std::make_unique<Slot[]>(kSlots);
};

}  // namespace mpeft::text
