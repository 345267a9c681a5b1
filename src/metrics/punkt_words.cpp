#include "metrics/punkt_context.h"

namespace mpeft::metrics {
namespace {

bool is_space_at(TextView line, size_t i) { return i < line.size() && is_pattern_space(line[i]); }

size_t run_length(TextView line, size_t at, char32_t c) {
  size_t end = at;
  while (end < line.size() && line[end] == c) ++end;
  return end - at;
}

/// Length of punctuation of several characters at line[at …]: "--", "..", ". . ." and longer; 0 when there is none.
size_t multi_char_punctuation(TextView line, size_t at) {
  for (const char32_t c : {U'-', U'.'}) {
    if (const size_t n = run_length(line, at, c); n >= 2) return n;
  }
  // Stops with one white-space character between, at least three stops.
  size_t stops = 0;
  size_t i = at;
  while (i < line.size() && line[i] == U'.') {
    ++stops;
    if (!is_space_at(line, i + 1)) break;
    i += 2;
  }
  return stops >= 3 ? 2 * stops - 1 : 0;
}

/// As multi_char_punctuation(…) > 0, in constant time.
bool begins_multi_char_punctuation(TextView line, size_t i) {
  const auto is = [&](size_t k, char32_t c) { return k < line.size() && line[k] == c; };
  if ((is(i, U'-') && is(i + 1, U'-')) || (is(i, U'.') && is(i + 1, U'.'))) return true;
  return is(i, U'.') && is_space_at(line, i + 1) && is(i + 2, U'.') && is_space_at(line, i + 3) && is(i + 4, U'.');
}

bool ends_word(TextView line, size_t i) {
  return i >= line.size() || is_pattern_space(line[i]) || is_punkt_delimiter(line[i]) ||
         begins_multi_char_punctuation(line, i);
}

bool starts_word(char32_t c) { return TextView(U"(\"`{[:;&#*@)}]-,").find(c) == TextView::npos; }

size_t word_length(TextView line, size_t at) {
  if (const size_t n = multi_char_punctuation(line, at); n > 0) return n;
  if (!starts_word(line[at])) return 1;
  size_t end = at + 1;
  // A comma belongs to the word unless the word ends after it.
  while (!ends_word(line, end) && !(line[end] == U',' && ends_word(line, end + 1))) ++end;
  return end - at;
}

}  // namespace

bool is_punkt_delimiter(char32_t c) { return TextView(U")\";}]*:@'({[‘’“”«»?!").find(c) != TextView::npos; }

std::vector<TextView> punkt_words(TextView line) {
  std::vector<TextView> words;
  for (size_t i = 0; i < line.size();) {
    if (is_pattern_space(line[i])) {
      ++i;
      continue;
    }
    words.push_back(line.substr(i, word_length(line, i)));
    i += words.back().size();
  }
  return words;
}

}  // namespace mpeft::metrics
