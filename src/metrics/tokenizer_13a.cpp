#include "metrics/tokenizer_13a.h"

#include <string>
#include <utility>

namespace mpeft::metrics {
namespace {

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_stop(char32_t c) { return c == U'.' || c == U','; }

/// Every ASCII punctuation mark but ' , - and . (and, as in the original's ranges, the blank).
bool stands_alone(char32_t c) {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') || (c >= U'(' && c <= U'+') ||
         (c >= U':' && c <= U'@') || c == U'/';
}

Text replace_all(Text text, TextView from, TextView to) {
  size_t at = text.find(from);
  if (at == Text::npos) return text;
  Text out;
  size_t copied = 0;
  for (; at != Text::npos; at = text.find(from, copied)) {
    out.append(text, copied, at - copied).append(to);
    copied = at + from.size();
  }
  return out.append(text, copied);
}

Text isolate_punctuation(const Text& text) {
  Text out;
  for (const char32_t c : text) {
    if (stands_alone(c)) {
      out.append({U' ', c, U' '});
    } else {
      out.push_back(c);
    }
  }
  return out;
}

/// Where two neighbours match (first, second), writes `before`, the first, `between`, the second, `after`. A pair takes
/// both characters, so that pairs do not overlap: this is what re.sub with two groups does.
template <typename First, typename Second>
Text rewrite_pairs(const Text& text, First first, Second second, TextView before, TextView between, TextView after) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      out.append(before).append(1, text[i]).append(between).append(1, text[i + 1]).append(after);
      ++i;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

}  // namespace

std::vector<Text> tokenize_13a(std::string_view bytes) {
  Text text = decode_utf8(bytes);
  // The order matters: "&amp;lt;" becomes "<", as it does there.
  static constexpr std::pair<TextView, TextView> kReplacements[] = {
      {U"<skipped>", U""}, {U"-\n", U""},   {U"\n", U" "},  {U"&quot;", U"\""},
      {U"&amp;", U"&"},    {U"&lt;", U"<"}, {U"&gt;", U">"}};
  for (const auto& [from, to] : kReplacements) text = replace_all(std::move(text), from, to);
  // The blanks at both ends let a full stop after a final digit stand alone.
  text = isolate_punctuation(U" " + text + U" ");
  const auto is_not_digit = [](char32_t c) { return !is_digit(c); };
  const auto is_dash = [](char32_t c) { return c == U'-'; };
  text = rewrite_pairs(text, is_not_digit, is_stop, U"", U" ", U" ");
  text = rewrite_pairs(text, is_stop, is_not_digit, U" ", U" ", U"");
  text = rewrite_pairs(text, is_digit, is_dash, U"", U" ", U" ");
  return split_words(text);
}

}  // namespace mpeft::metrics
