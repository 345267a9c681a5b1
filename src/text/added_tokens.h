#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mpeft/text/tokenizer.h"

namespace mpeft::text {

/// An entry of `added_tokens`: a text that becomes one id wherever it occurs.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;      ///< left out by decode(..., skip_special)
  bool normalized = false;   ///< looked for after normalization (content normalized too), not before
  bool single_word = false;  ///< only where no word character touches it
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
};

/// Finds added tokens in a text: leftmost, and of those that start there the longest.
class AddedTokenMatcher {
 public:
  /// A piece of a text: an added token, or what lies between them (id -1).
  struct Piece {
    TokenId id;
    std::string_view text;
  };

  /// `spelling` is what is looked for; of two equal spellings the first one counts.
  void add(const AddedToken& token, std::string_view spelling);

  bool empty() const { return tokens_.empty(); }

  /// The pieces of `text` in order; none of them is empty.
  std::vector<Piece> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;
    int32_t token = -1;  // index into tokens_
  };
  struct Match {
    int32_t token;
    size_t length;
  };

  int32_t child(int32_t node, unsigned char byte) const;
  Match match_at(std::string_view text, size_t i) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<int32_t, 256> first_ = make_first();  // children of the root by byte, -1 for none
  static std::array<int32_t, 256> make_first();
};

}  // namespace mpeft::text
