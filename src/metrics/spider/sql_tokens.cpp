#include "metrics/spider/sql_tokens.h"

#include <cstdlib>
#include <unordered_map>

#include "mpeft/core/strings.h"

#include "metrics/spider/sql_error.h"
#include "metrics/treebank.h"
#include "metrics/unicode.h"

namespace mpeft::metrics::spider {
namespace {

Text ascii(const std::string& text) { return Text(text.begin(), text.end()); }

std::vector<size_t> places_of(const Text& text, char32_t c) {
  std::vector<size_t> places;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == c) places.push_back(i);
  }
  return places;
}

// A word in place of each quoted text, so that the tokenizer does not cut it. The places that name it are the script's:
// a query that writes such a word itself means the quoted text there.
Text replace_quoted(const Text& query, std::unordered_map<Text, Text>& quoted) {
  const auto quotes = places_of(query, U'"');
  if (quotes.size() % 2 != 0) throw SqlError("a quote is not closed");
  Text replaced;
  size_t copied = 0;
  for (size_t i = 0; i < quotes.size(); i += 2) {
    const Text key = ascii(str("__val_", quotes[i], "_", quotes[i + 1], "__"));
    replaced.append(query, copied, quotes[i] - copied).append(key);
    copied = quotes[i + 1] + 1;
    quoted[key] = query.substr(quotes[i], copied - quotes[i]);
  }
  return replaced.append(query, copied);
}

// `! =` to `!=`, from the last to the first. The word "before" a first `=` is the last one, as Python counts.
void join_comparisons(std::vector<Text>& words) {
  std::vector<size_t> equals;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == U"=") equals.push_back(i);
  }
  for (size_t k = equals.size(); k-- > 0;) {
    const size_t at = equals[k];
    const Text before = at == 0 ? words.back() : words[at - 1];
    if (before != U"!" && before != U">" && before != U"<") continue;
    if (at == 0) {  // Python's words[:-1] + [joined] + words[1:]
      std::vector<Text> wrapped(words.begin(), words.end() - 1);
      wrapped.push_back(before + U"=");
      wrapped.insert(wrapped.end(), words.begin() + 1, words.end());
      words = std::move(wrapped);
    } else {
      words[at - 1] = before + U"=";
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
}

// The value of a decimal digit of any script: Unicode has them in runs of ten, from zero on.
char digit_of(char32_t c) {
  if (c >= U'0' && c <= U'9') return static_cast<char>(c);
  constexpr char32_t kMathematicalDigits = 0x1D7CE;  // five runs without a gap
  char32_t zero = c >= kMathematicalDigits && c < kMathematicalDigits + 50 ? kMathematicalDigits : c;
  while (zero != kMathematicalDigits && c - zero < 9 && is_decimal(zero - 1)) --zero;
  return static_cast<char>('0' + (c - zero) % 10);
}

}  // namespace

std::vector<std::string> tokenize_sql(std::string_view query) {
  if (query.size() > kMaxQueryBytes) throw SqlError(str("longer than ", kMaxQueryBytes, " bytes"));
  Text text = decode_utf8(query);
  for (char32_t& c : text) {
    if (c == U'\'') c = U'"';
  }
  std::unordered_map<Text, Text> quoted;
  std::vector<Text> words = tokenize_treebank(replace_quoted(text, quoted));
  for (Text& word : words) {
    word = to_lower(word);
    if (const auto found = quoted.find(word); found != quoted.end()) word = found->second;
  }
  join_comparisons(words);
  std::vector<std::string> tokens;
  tokens.reserve(words.size());
  for (const Text& word : words) tokens.push_back(encode_utf8(word));
  return tokens;
}

std::optional<double> python_float(std::string_view word) {
  std::string number;
  bool after_digit = false;
  for (const char32_t c : decode_utf8(word)) {
    const bool digit = is_decimal(c);
    if (c == U'_') {
      if (!after_digit) return std::nullopt;
      number.push_back('_');
    } else {
      if (!number.empty() && number.back() == '_') {
        if (!digit) return std::nullopt;
        number.pop_back();
      }
      if (!digit && c > 0x7F) return std::nullopt;
      number.push_back(digit ? digit_of(c) : static_cast<char>(c));
    }
    after_digit = digit;
  }
  const std::string unsigned_part =
      mpeft::to_lower(number.starts_with('+') || number.starts_with('-') ? std::string_view(number).substr(1) : number);
  const bool is_word = unsigned_part == "nan" || unsigned_part == "inf" || unsigned_part == "infinity";
  if (!is_word && unsigned_part.find_first_not_of("0123456789.e+-") != std::string::npos) return std::nullopt;
  // Only what is left of strtod's grammar is Python's too: no hexadecimal, no "nan(…)", no white space, one sign.
  if (unsigned_part.empty() || unsigned_part.front() == '+' || unsigned_part.front() == '-') return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (end != number.c_str() + number.size()) return std::nullopt;
  return value;
}

}  // namespace mpeft::metrics::spider
