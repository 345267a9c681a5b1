#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mpeft/text/tokenizer.h"

#include "text/added_tokens.h"
#include "text/bpe_model.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_json.h"

namespace mpeft::text {

/// Byte-level BPE as the Hugging Face `tokenizers` package runs it: added tokens spelt literally, normalization, added
/// tokens spelt normalized, words, merges. Post-processors are not applied (nothing is put in front or behind).
class HfBpeTokenizer final : public Tokenizer {
 public:
  /// `path` is for messages. Throws DataError when the parts contradict each other.
  HfBpeTokenizer(TokenizerJson parts, std::string fingerprint, std::string path);

  std::vector<TokenId> encode(std::string_view text) const override;
  std::string decode(const std::vector<TokenId>& ids, bool skip_special) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  TokenId eos_id() const override;
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  // What is looked for in a text, and what the token decodes to.
  std::string pattern_of(const AddedToken& token) const;
  void add_tokens(const std::vector<AddedToken>& tokens);
  BpeModel make_model(const TokenizerJson& parts) const;
  TokenId id_of(const std::string& token, std::string_view where) const;
  void encode_normalized(std::string_view text, std::vector<TokenId>& out) const;
  void encode_words(std::string_view text, std::vector<TokenId>& out) const;

  std::string path_, fingerprint_;
  bool nfc_;
  PreTokenizer pre_tokenizer_;
  std::unordered_map<std::string, TokenId> ids_;  // spelling in the file -> id, added tokens too
  std::vector<std::string> bytes_;                // what an id decodes to; "" for an id without a token
  std::vector<bool> special_;
  AddedTokenMatcher literal_tokens_, normalized_tokens_;
  std::unique_ptr<const BpeModel> model_;
  TokenId eos_id_ = -1;
};

}  // namespace mpeft::text
