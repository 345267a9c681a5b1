#include "text/sentencepiece_tokenizer.h"

#include <cstddef>
#include <utility>

#include <sentencepiece_processor.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "text/code_points.h"

// libsentencepiece and LibTorch's libc10 both export a variable of this name: a class of 32 bytes, made when the
// program starts, and an int that only a parser of command lines reads, which we do not call. The loader gives both
// libraries the first one it finds. That was libc10's, and what lay behind it was overwritten: a failed allocation of
// LibTorch's then ended the program instead of throwing. The program's own comes before those of all libraries.
extern "C" {
alignas(64) std::byte FLAGS_minloglevel[64];
}

namespace mpeft::text {

struct SentencePieceTokenizer::Processor {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceTokenizer::SentencePieceTokenizer(std::string_view model, std::string fingerprint, std::string path)
    : processor_(std::make_unique<Processor>()), path_(std::move(path)), fingerprint_(std::move(fingerprint)) {
  const auto status = processor_->processor.LoadFromSerializedProto({model.data(), model.size()});
  if (!status.ok()) {
    throw DataError(str(path_, ": not a SentencePiece model (", status.ToString(),
                        "); it is cut or of another kind: fetch it again, or name another tokenizer, a tokenizer.json "
                        "or a .model that SentencePiece wrote"));
  }
  if (vocab_size() <= 0) throw DataError(path_ + ": the SentencePiece model has no pieces");
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

std::vector<TokenId> SentencePieceTokenizer::encode(std::string_view text) const {
  std::string repaired;
  if (!is_ascii(text) && !is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  std::vector<int> ids;
  const auto status = processor_->processor.Encode({text.data(), text.size()}, &ids);
  if (!status.ok())
    throw DataError(str("the SentencePiece model ", path_, " cannot encode a text of ", text.size(),
                        " bytes: ", status.ToString()));
  return ids;
}

std::string SentencePieceTokenizer::decode(const std::vector<TokenId>& ids, bool skip_special) const {
  std::vector<int> kept;
  kept.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      throw DataError(str("ids[", i, "]: ", ids[i], " is outside [0, ", vocab_size(), ") of the tokenizer ", path_));
    }
    if (!skip_special || !processor_->processor.IsUnknown(ids[i])) kept.push_back(ids[i]);
  }
  std::string text;
  const auto status = processor_->processor.Decode(kept, &text);
  if (!status.ok()) throw DataError(str("the SentencePiece model ", path_, " cannot decode: ", status.ToString()));
  return is_valid_utf8(text) ? text : to_valid_utf8(text);
}

int64_t SentencePieceTokenizer::vocab_size() const { return processor_->processor.GetPieceSize(); }

std::optional<TokenId> SentencePieceTokenizer::token_to_id(std::string_view token) const {
  const int id = processor_->processor.PieceToId({token.data(), token.size()});
  // PieceToId answers the unknown piece for what it does not know.
  if (id < 0 || id >= vocab_size() || processor_->processor.IdToPiece(id) != token) return std::nullopt;
  return id;
}

TokenId SentencePieceTokenizer::eos_id() const {
  const int id = processor_->processor.eos_id();
  if (id < 0) throw DataError(path_ + ": the SentencePiece model has no end-of-text piece (eos_id)");
  return id;
}

}  // namespace mpeft::text
