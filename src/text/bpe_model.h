#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mpeft/text/tokenizer.h"

#include "text/merge_table.h"
#include "text/word_cache.h"

namespace mpeft::text {

/// Byte-pair encoding of one word (Sennrich et al. 2016): while some neighbours can be merged, the pair that was learnt
/// first is, the leftmost of equals before the others.
class BpeModel {
 public:
  /// `byte_ids`: id of every single byte, -1 for a byte the vocabulary lacks (left out, as in the reference).
  BpeModel(const std::array<TokenId, 256>& byte_ids, MergeTable merges);

  /// Words whose spelling is an entry of the vocabulary become that entry without any merging (`ignore_merges`).
  void set_whole_words(std::unordered_map<std::string, TokenId> words) { whole_words_ = std::move(words); }

  /// Appends the ids of `word`, which is not empty. `readable`: bytes that may be read from its beginning on.
  void encode(std::string_view word, size_t readable, std::vector<TokenId>& out) const;

 private:
  void merge_short(std::string_view word, std::vector<TokenId>& out) const;
  void merge_long(std::string_view word, std::vector<TokenId>& out) const;

  std::array<TokenId, 256> byte_ids_;
  MergeTable merges_;
  std::unordered_map<std::string, TokenId> whole_words_;
  std::unique_ptr<WordCache> cache_ = std::make_unique<WordCache>();
};

}  // namespace mpeft::text
