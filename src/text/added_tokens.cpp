#include "text/added_tokens.h"

#include <algorithm>

#include "text/code_points.h"

namespace mpeft::text {

std::array<int32_t, 256> AddedTokenMatcher::make_first() {
  std::array<int32_t, 256> none;
  none.fill(-1);
  return none;
}

int32_t AddedTokenMatcher::child(int32_t node, unsigned char byte) const {
  for (const auto& [label, next] : nodes_[static_cast<size_t>(node)].children) {
    if (label == byte) return next;
  }
  return -1;
}

void AddedTokenMatcher::add(const AddedToken& token, std::string_view spelling) {
  if (spelling.empty()) return;
  int32_t node = 0;
  for (const char c : spelling) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[static_cast<size_t>(node)].children.emplace_back(byte, next);
      if (node == 0) first_[byte] = next;
    }
    node = next;
  }
  if (nodes_[static_cast<size_t>(node)].token >= 0) return;
  nodes_[static_cast<size_t>(node)].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenMatcher::Match AddedTokenMatcher::match_at(std::string_view text, size_t i) const {
  Match best{-1, 0};
  int32_t node = first_[static_cast<unsigned char>(text[i])];
  for (size_t length = 1; node >= 0; ++length) {
    if (const int32_t token = nodes_[static_cast<size_t>(node)].token; token >= 0) best = {token, length};
    if (i + length >= text.size()) break;
    node = child(node, static_cast<unsigned char>(text[i + length]));
  }
  return best;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::split(std::string_view text) const {
  const uint8_t* classes = code_point_classes();
  const auto is_word = [&](CodePoint c) { return (classes[c.value] & kWord) != 0; };
  const auto is_space = [&](CodePoint c) { return (classes[c.value] & kSpace) != 0; };
  std::vector<Piece> pieces;
  size_t done = 0;  // end of the last piece
  for (size_t i = 0; i < text.size();) {
    if (first_[static_cast<unsigned char>(text[i])] < 0) {
      ++i;
      continue;
    }
    const Match match = match_at(text, i);
    if (match.token < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    size_t begin = i;
    size_t end = i + match.length;
    i = end;  // also behind a match that is refused: matches never overlap
    if (token.single_word && ((begin > 0 && is_word(code_point_before(text, begin))) ||
                              (end < text.size() && is_word(code_point_at(text, end))))) {
      continue;
    }
    if (token.lstrip) {
      while (begin > done && is_space(code_point_before(text, begin))) begin -= code_point_before(text, begin).length;
      begin = std::max(begin, done);
    }
    if (token.rstrip) {
      while (end < text.size() && is_space(code_point_at(text, end))) end += code_point_at(text, end).length;
    }
    // rstrip may have taken the beginning of this match: then there is nothing between the two.
    if (done < begin) pieces.push_back({-1, text.substr(done, begin - done)});
    pieces.push_back({token.id, text.substr(begin, end - begin)});
    done = end;
  }
  if (done < text.size()) pieces.push_back({-1, text.substr(done)});
  return pieces;
}

}  // namespace mpeft::text
