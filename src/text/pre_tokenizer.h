#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "text/split_pattern.h"

namespace mpeft::text {

/// End of the word that begins at `begin` < text.size() when GPT-2's pattern cuts the well-formed `text` (encoder.py):
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// A scanner by hand and not PCRE2: \p{L}, \p{N} and \s must not follow the library's Unicode version
/// (code_points.h; PCRE2's \s also has U+180E), and it takes a fraction of the pattern's time even with the JIT.
/// `classes` is code_point_classes().
size_t gpt2_word_end(std::string_view text, size_t begin, const uint8_t* classes);

/// What stands between normalization and merging: any number of Split steps, then ByteLevel.
struct PreTokenizer {
  std::vector<std::shared_ptr<const SplitPattern>> splits;
  bool add_prefix_space = false;  ///< puts a space before every piece that does not begin with one
  bool use_regex = true;          ///< cuts with GPT-2's pattern
};

}  // namespace mpeft::text
