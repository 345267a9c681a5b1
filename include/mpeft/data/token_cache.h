#pragma once

#include <cstdint>
#include <string>

#include "mpeft/data/dataset.h"

namespace mpeft::data {

/// Where and how tokenised data sets are kept between runs.
struct TokenCacheOptions {
  std::string folder;                         ///< "" switches the cache off
  std::string program;                        ///< version of the program: what another one tokenised is not reused
  int64_t min_text_bytes = int64_t{4} << 20;  ///< less text than this is tokenised faster than a file is read
  uint64_t max_bytes = uint64_t{2} << 30;     ///< of all entries together; the least recently used ones go
};

/// `$XDG_CACHE_HOME/mamba-peft/tokens` or `~/.cache/mamba-peft/tokens`; "" where neither variable is set.
std::string token_cache_folder();

/// As tokenize(), from an entry of the cache where there is one, else with an entry for the next time. An entry's name
/// is the SHA-256 of everything that the ids depend on: the texts themselves (and so the files, the template, the split
/// and its options), the end token, the tokenizer's file, the program and the format; limits are applied after reading.
/// Entries are written beside and renamed, checked by hash and bounds when read, and made again, with a warning, when
/// they are damaged: concurrent runs see whole entries or none. A folder that cannot be written costs a warning only.
TokenizedDataset tokenize_cached(const TextDataset& dataset, const text::Tokenizer& tokenizer,
                                 const TokenizeOptions& options, const TokenCacheOptions& cache);

}  // namespace mpeft::data
