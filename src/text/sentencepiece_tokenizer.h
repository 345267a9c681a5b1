#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mpeft/text/tokenizer.h"

namespace mpeft::text {

/// A SentencePiece model, run by libsentencepiece. Control pieces (<s>, </s>, <pad>) have no text: they are never found
/// in a text and decode to nothing, with or without `skip_special`, as in the `sentencepiece` package. The unknown
/// piece decodes to the model's unk_surface (" ⁇ "), or to nothing with `skip_special`.
/// Where two segmentations have the same score (unigram: "00:00:00"), releases of the library choose differently.
class SentencePieceTokenizer final : public Tokenizer {
 public:
  /// `model` is the content of the file `path`. Throws DataError when it is not a model.
  SentencePieceTokenizer(std::string_view model, std::string fingerprint, std::string path);
  ~SentencePieceTokenizer() override;

  std::vector<TokenId> encode(std::string_view text) const override;
  std::string decode(const std::vector<TokenId>& ids, bool skip_special) const override;
  int64_t vocab_size() const override;
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  TokenId eos_id() const override;
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  struct Processor;  // keeps the library's header out of ours
  std::unique_ptr<Processor> processor_;
  std::string path_, fingerprint_;
};

}  // namespace mpeft::text
