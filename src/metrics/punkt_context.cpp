#include "metrics/punkt_context.h"

#include <algorithm>

namespace mpeft::metrics {
namespace {

/// Contexts in which training saw a word (the numbers of the parameter files).
enum Orthography : uint32_t {
  kBeginningUpper = 1U << 1,
  kMiddleUpper = 1U << 2,
  kUnknownUpper = 1U << 3,
  kBeginningLower = 1U << 4,
  kMiddleLower = 1U << 5,
  kUnknownLower = 1U << 6,
  kAnyUpper = kBeginningUpper | kMiddleUpper | kUnknownUpper,
  kAnyLower = kBeginningLower | kMiddleLower | kUnknownLower,
};

enum class StartsSentence { kNo, kUnknown, kYes };

struct Token {
  TextView word;
  Text type;  ///< lower case; numbers are all "##number##"
  bool sentence_break = false;
  bool abbreviation = false;
  bool ellipsis = false;
};

constexpr TextView kNumber = U"##number##";

/// -?[.,]?\d[\d,.-]*\.? and nothing else.
bool is_number(TextView word) {
  size_t i = word.starts_with(U'-') ? 1 : 0;
  if (i < word.size() && (word[i] == U'.' || word[i] == U',')) ++i;
  if (i == word.size() || !is_decimal(word[i])) return false;
  return std::all_of(word.begin() + static_cast<std::ptrdiff_t>(i), word.end(),
                     [](char32_t c) { return is_decimal(c) || c == U',' || c == U'.' || c == U'-'; });
}

bool is_ellipsis(TextView word) {
  return word.size() >= 2 && std::all_of(word.begin(), word.end(), [](char32_t c) { return c == U'.'; });
}

/// One letter and a full stop.
bool is_initial(TextView word) {
  return word.size() == 2 && word[1] == U'.' && is_pattern_word(word[0]) && !is_decimal(word[0]);
}

Text without_stop(const Text& type) {
  return type.size() > 1 && type.back() == U'.' ? type.substr(0, type.size() - 1) : type;
}

/// The type as it stands in the middle of a sentence.
Text type_in_sentence(const Token& token) { return token.sentence_break ? without_stop(token.type) : token.type; }

uint32_t orthography_of(const Text& type, const PunktParameters& parameters) {
  const auto found = parameters.orthography.find(type);
  return found == parameters.orthography.end() ? 0 : found->second;
}

Token make_token(TextView word) {
  Token token{.word = word, .type = to_lower(word)};
  if (is_number(token.type)) token.type = kNumber;
  return token;
}

/// First pass: what the word alone tells.
void annotate_by_type(Token& token, const PunktParameters& parameters) {
  const TextView word = token.word;
  if (word == U"." || word == U"?" || word == U"!") {
    token.sentence_break = true;
  } else if (is_ellipsis(word)) {
    token.ellipsis = true;
  } else if (word.ends_with(U'.') && !word.ends_with(U"..")) {
    const Text stem = to_lower(word.substr(0, word.size() - 1));
    const size_t dash = stem.rfind(U'-');
    const bool known = parameters.abbreviations.contains(stem) ||
                       (dash != Text::npos && parameters.abbreviations.contains(stem.substr(dash + 1)));
    (known ? token.abbreviation : token.sentence_break) = true;
  }
}

/// The orthographic heuristic: does the case of this word tell that it begins a sentence?
StartsSentence orthographic_evidence(const Token& token, const PunktParameters& parameters) {
  if (token.word.size() == 1 && TextView(U";:,.!?").find(token.word[0]) != TextView::npos) return StartsSentence::kNo;
  const uint32_t seen = orthography_of(type_in_sentence(token), parameters);
  if (is_upper(token.word[0]) && (seen & kAnyLower) != 0 && (seen & kMiddleUpper) == 0) return StartsSentence::kYes;
  if (is_lower(token.word[0]) && ((seen & kAnyUpper) != 0 || (seen & kBeginningLower) == 0)) return StartsSentence::kNo;
  return StartsSentence::kUnknown;
}

/// Second pass: what the next word tells about a word that ends in a full stop.
void annotate_by_next(Token& token, const Token& next, const PunktParameters& parameters) {
  if (!token.word.ends_with(U'.')) return;
  const Text type = without_stop(token.type);
  const Text next_type = type_in_sentence(next);
  if (parameters.collocations.contains(type + U'\t' + next_type)) {
    token.sentence_break = false;
    token.abbreviation = true;
    return;
  }
  const bool initial = is_initial(token.word);
  const StartsSentence evidence = orthographic_evidence(next, parameters);
  if ((token.abbreviation || token.ellipsis) && !initial) {
    const bool starter = is_upper(next.word[0]) && parameters.sentence_starters.contains(next_type);
    if (evidence == StartsSentence::kYes || starter) {
      token.sentence_break = true;
      return;
    }
  }
  if (!initial && type != kNumber) return;
  // "J. Bach": an initial before a word that is always capitalised ends no sentence.
  const bool name = evidence == StartsSentence::kUnknown && initial && is_upper(next.word[0]) &&
                    (orthography_of(next_type, parameters) & kAnyLower) == 0;
  if (evidence == StartsSentence::kNo || name) {
    token.sentence_break = false;
    token.abbreviation = true;
  }
}

std::vector<Token> tokens_of(TextView text) {
  std::vector<Token> tokens;
  while (true) {
    const size_t end = text.find(U'\n');
    const TextView line = text.substr(0, end);
    // str.strip takes U+001C … U+001F for white space, the pattern of the words does not.
    if (!strip_right(line).empty()) {
      for (const TextView word : punkt_words(line)) tokens.push_back(make_token(word));
    }
    if (end == TextView::npos) return tokens;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

bool contains_sentence_break(TextView context, const PunktParameters& parameters) {
  std::vector<Token> tokens = tokens_of(context);
  for (Token& token : tokens) annotate_by_type(token, parameters);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    annotate_by_next(tokens[i], tokens[i + 1], parameters);
    // A break after the last word separates nothing.
    if (tokens[i].sentence_break) return true;
  }
  return false;
}

}  // namespace mpeft::metrics
