#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft::text {

using TokenId = int32_t;

/// Text to ids and back. Implementations are immutable after construction and safe to use from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of `text`. Added (special) tokens spelt out in the text become their ids; nothing is put in front or behind.
  /// Ill-formed UTF-8 is replaced first (mpeft::to_valid_utf8).
  virtual std::vector<TokenId> encode(std::string_view text) const = 0;

  /// Text of `ids`: valid UTF-8, ill-formed byte runs replaced by U+FFFD. With `skip_special`, special tokens are left
  /// out. Throws DataError for an id outside [0, vocab_size()).
  virtual std::string decode(const std::vector<TokenId>& ids, bool skip_special) const = 0;

  /// One more than the largest id.
  virtual int64_t vocab_size() const = 0;

  /// Id of the piece spelt exactly `token` (an added token or a vocabulary entry), if there is one.
  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;

  /// Id that ends a text: `<|endoftext|>` or, for SentencePiece, the model's eos piece.
  virtual TokenId eos_id() const = 0;

  /// SHA-256 of the tokenizer's file: part of cache keys and manifests.
  virtual const std::string& fingerprint() const = 0;
};

/// Reads a tokenizer: a `tokenizer.json` of byte-level BPE, a SentencePiece `.model`, or a folder that holds one of
/// `tokenizer.json`, `20B_tokenizer.json`, `spiece.model`, `tokenizer.model`. Throws DataError saying what was looked
/// for.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& path);

}  // namespace mpeft::text
