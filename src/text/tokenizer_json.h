#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mpeft/text/tokenizer.h"

#include "text/added_tokens.h"
#include "text/pre_tokenizer.h"

namespace mpeft::text {

/// The contents of a `tokenizer.json` that this program supports, checked.
struct TokenizerJson {
  bool nfc = false;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added_tokens;                ///< in the order of the file
  std::vector<std::pair<std::string, TokenId>> vocab;  ///< the model's entries, distinct ids in [0, kMaxVocab)
  std::vector<std::pair<std::string, std::string>> merges;
  bool ignore_merges = false;
  bool needs_all_bytes = false;  ///< unk_token or byte_fallback is set: neutral only when no byte can be unknown
};

constexpr TokenId kMaxVocab = 1 << 22;  ///< ids beyond it are refused: the largest vocabularies have 2^18

/// Reads and checks `content`; `path` is for messages. Throws DataError naming the place and the reason: not JSON,
/// nested too deeply, a wrong type, a duplicate id, or a component that is not supported.
TokenizerJson parse_tokenizer_json(std::string_view content, const std::string& path);

}  // namespace mpeft::text
