#pragma once

#include <string>

#include "mpeft/core/error.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::data {

/// One id a byte (1 … 256), 0 ends a text: lengths and ids can be read off the text.
class FakeTokenizer : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view text) const override {
    if (text.find("FAIL") != std::string_view::npos) throw DataError("cannot be tokenised");
    std::vector<text::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) + 1);
    return ids;
  }
  std::string decode(const std::vector<text::TokenId>& ids, bool skip_special) const override {
    std::string text;
    for (const auto id : ids) {
      if (id != 0) {
        text += static_cast<char>(id - 1);
      } else if (!skip_special) {
        text += "<end>";
      }
    }
    return text;
  }
  int64_t vocab_size() const override { return 257; }
  std::optional<text::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  text::TokenId eos_id() const override { return 0; }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  std::string fingerprint_ = "fake";
};

}  // namespace mpeft::data
