#include "text/hf_bpe_tokenizer.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "text/byte_alphabet.h"
#include "text/code_points.h"
#include "text/nfc.h"

namespace mpeft::text {

HfBpeTokenizer::HfBpeTokenizer(TokenizerJson parts, std::string fingerprint, std::string path)
    : path_(std::move(path)),
      fingerprint_(std::move(fingerprint)),
      nfc_(parts.nfc),
      pre_tokenizer_(std::move(parts.pre_tokenizer)) {
  const ByteAlphabet alphabet;
  ids_.reserve(parts.vocab.size() + parts.added_tokens.size());
  const auto place = [&](const std::string& token, TokenId id) {
    if (static_cast<size_t>(id) >= bytes_.size()) bytes_.resize(static_cast<size_t>(id) + 1);
    bytes_[static_cast<size_t>(id)] = alphabet.bytes_of(token);
  };
  for (const auto& [token, id] : parts.vocab) {
    ids_.emplace(token, id);
    place(token, id);
  }
  model_ = std::make_unique<const BpeModel>(make_model(parts));  // before the added tokens: merges make none of them
  add_tokens(parts.added_tokens);
  for (const auto& token : parts.added_tokens) place(pattern_of(token), token.id);
  special_.resize(bytes_.size());
  for (const auto& token : parts.added_tokens) {
    if (token.special) special_[static_cast<size_t>(token.id)] = true;
  }
  for (const char* name : {"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>"}) {
    if (const auto id = token_to_id(name); id && eos_id_ < 0) eos_id_ = *id;
  }
}

std::string HfBpeTokenizer::pattern_of(const AddedToken& token) const {
  return token.normalized && nfc_ ? to_nfc(token.content) : token.content;
}

TokenId HfBpeTokenizer::id_of(const std::string& token, std::string_view where) const {
  const auto it = ids_.find(token);
  if (it == ids_.end()) throw DataError(str(path_, ": ", where, ": '", token, "' is not in model.vocab"));
  return it->second;
}

BpeModel HfBpeTokenizer::make_model(const TokenizerJson& parts) const {
  const ByteAlphabet alphabet;
  std::array<TokenId, 256> byte_ids;
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto it = ids_.find(alphabet.spelling(static_cast<uint8_t>(byte)));
    byte_ids[byte] = it == ids_.end() ? -1 : it->second;
    if (byte_ids[byte] < 0 && parts.needs_all_bytes) {
      throw DataError(str(path_,
                          ": model: unk_token and byte_fallback are supported only when model.vocab has all 256 ",
                          "bytes; byte ", byte, " ('", alphabet.spelling(static_cast<uint8_t>(byte)), "') is missing"));
    }
  }
  MergeTable merges(parts.merges.size());
  for (size_t i = 0; i < parts.merges.size(); ++i) {
    const auto& [left, right] = parts.merges[i];
    const auto a = ids_.find(left), b = ids_.find(right), merged = ids_.find(left + right);
    if (a == ids_.end() || b == ids_.end() || merged == ids_.end()) {
      const std::string where = str("model.merges[", i, "]");
      id_of(left, where);
      id_of(right, where);
      id_of(left + right, where);
    }
    merges.insert(a->second, b->second, {static_cast<uint32_t>(i), merged->second});
  }
  BpeModel model(byte_ids, std::move(merges));
  if (parts.ignore_merges) {
    std::unordered_map<std::string, TokenId> words;
    for (const auto& [token, id] : parts.vocab) words.emplace(alphabet.bytes_of(token), id);
    model.set_whole_words(std::move(words));
  }
  return model;
}

void HfBpeTokenizer::add_tokens(const std::vector<AddedToken>& tokens) {
  // The reference ignores the ids of the file: a token of the vocabulary keeps that id, others follow one after the
  // other. A file in which the two disagree would mean different ids to different readers, so it is refused.
  const auto n_vocab = static_cast<TokenId>(ids_.size());
  TokenId largest = -1;
  std::unordered_set<std::string_view> contents;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const AddedToken& token = tokens[i];
    if (!contents.insert(token.content).second) {
      throw DataError(str(path_, ": added_tokens[", i, "]: '", token.content, "' is there twice"));
    }
    const auto known = ids_.find(token.content);
    const TokenId id = known != ids_.end() ? known->second : std::max(largest + 1, n_vocab);
    if (id != token.id) {
      throw DataError(str(path_, ": added_tokens[", i, "]: '", token.content, "' has id ", token.id, " where ", id,
                          known != ids_.end() ? " is its id already" : " is the next free one"));
    }
    if (known == ids_.end() && static_cast<size_t>(id) < bytes_.size()) {
      throw DataError(str(path_, ": added_tokens[", i, "]: id ", id, " of '", token.content,
                          "' belongs to a token of model.vocab, whose ids have gaps"));
    }
    ids_.emplace(token.content, id);
    largest = std::max(largest, id);
  }
  for (const bool special : {true, false}) {  // the order in which equal spellings win
    for (const AddedToken& token : tokens) {
      if (token.special != special) continue;
      (token.normalized ? normalized_tokens_ : literal_tokens_).add(token, pattern_of(token));
    }
  }
}

std::vector<TokenId> HfBpeTokenizer::encode(std::string_view text) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + 8);
  std::string repaired;
  const bool ascii = is_ascii(text);
  if (!ascii && !is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  const auto encode_literal = [&](std::string_view piece) {
    if (!nfc_ || ascii || is_surely_nfc(piece)) return encode_normalized(piece, out);
    encode_normalized(to_nfc(piece), out);
  };
  if (literal_tokens_.empty()) {
    encode_literal(text);
  } else {
    for (const auto& piece : literal_tokens_.split(text)) {
      piece.id >= 0 ? out.push_back(piece.id) : encode_literal(piece.text);
    }
  }
  return out;
}

void HfBpeTokenizer::encode_normalized(std::string_view text, std::vector<TokenId>& out) const {
  const auto encode_piece = [&](std::string_view piece) {
    if (pre_tokenizer_.add_prefix_space && !piece.starts_with(' ')) {
      encode_words(" " + std::string(piece), out);
    } else {
      encode_words(piece, out);
    }
  };
  // Splits one level of Split steps after the other.
  const auto encode_splits = [&](auto&& self, size_t level, std::string_view piece) -> void {
    if (level == pre_tokenizer_.splits.size()) return encode_piece(piece);
    pre_tokenizer_.splits[level]->split(piece, [&](std::string_view part) { self(self, level + 1, part); });
  };
  if (normalized_tokens_.empty()) {
    if (!text.empty()) encode_splits(encode_splits, 0, text);
    return;
  }
  for (const auto& piece : normalized_tokens_.split(text)) {
    piece.id >= 0 ? out.push_back(piece.id) : encode_splits(encode_splits, 0, piece.text);
  }
}

void HfBpeTokenizer::encode_words(std::string_view text, std::vector<TokenId>& out) const {
  if (!pre_tokenizer_.use_regex) {
    if (!text.empty()) model_->encode(text, text.size(), out);
    return;
  }
  const uint8_t* classes = code_point_classes();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = gpt2_word_end(text, begin, classes);
    model_->encode(text.substr(begin, end - begin), text.size() - begin, out);
    begin = end;
  }
}

std::string HfBpeTokenizer::decode(const std::vector<TokenId>& ids, bool skip_special) const {
  std::string out;
  for (size_t i = 0; i < ids.size(); ++i) {
    const TokenId id = ids[i];
    if (id < 0 || id >= vocab_size()) {
      throw DataError(str("ids[", i, "]: ", id, " is outside [0, ", vocab_size(), ") of the tokenizer ", path_));
    }
    if (skip_special && special_[static_cast<size_t>(id)]) continue;
    out += bytes_[static_cast<size_t>(id)];
  }
  return is_ascii(out) || is_valid_utf8(out) ? out : to_valid_utf8(out);
}

std::optional<TokenId> HfBpeTokenizer::token_to_id(std::string_view token) const {
  const auto it = ids_.find(std::string(token));
  return it == ids_.end() ? std::nullopt : std::optional<TokenId>(it->second);
}

TokenId HfBpeTokenizer::eos_id() const {
  if (eos_id_ < 0) {
    throw DataError(path_ + ": no token ends a text (looked for <|endoftext|>, </s>, <|end_of_text|>, <eos>)");
  }
  return eos_id_;
}

}  // namespace mpeft::text
