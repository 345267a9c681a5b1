#include "metrics/unicode.h"

#include <algorithm>
#include <iterator>

#include <utf8proc.h>

#include "mpeft/core/strings.h"

namespace mpeft::metrics {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Other_Uppercase and Other_Lowercase of PropList.txt: cased characters whose category is neither Lu nor Ll.
constexpr Range kOtherUppercase[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr Range kOtherLowercase[] = {
    {0x00AA, 0x00AA}, {0x00BA, 0x00BA}, {0x02B0, 0x02B8},   {0x02C0, 0x02C1},   {0x02E0, 0x02E4},   {0x0345, 0x0345},
    {0x037A, 0x037A}, {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};
// Other_Alphabetic symbols: letters in circles and squares.
constexpr Range kAlphabeticSymbols[] = {{0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
// Word_Break MidLetter, MidNumLet and Single_Quote: the part of Case_Ignorable that categories do not tell.
constexpr char32_t kCaseIgnorablePunctuation[] = {0x0027, 0x002E, 0x003A, 0x00B7, 0x0387, 0x055F,
                                                  0x05F4, 0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                                  0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};

template <size_t n>
bool is_in(const Range (&ranges)[n], char32_t c) {
  const auto after = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                      [](char32_t value, const Range& range) { return value < range.first; });
  return after != std::begin(ranges) && c <= std::prev(after)->last;
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_letter(utf8proc_category_t cat) { return cat >= UTF8PROC_CATEGORY_LU && cat <= UTF8PROC_CATEGORY_LO; }
bool is_mark(utf8proc_category_t cat) { return cat >= UTF8PROC_CATEGORY_MN && cat <= UTF8PROC_CATEGORY_ME; }
bool is_ascii_letter(char32_t c) { return (c | 0x20) >= U'a' && (c | 0x20) <= U'z'; }
bool is_ascii_digit(char32_t c) { return c >= U'0' && c <= U'9'; }

bool is_cased(char32_t c) { return is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT; }

bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return std::find(std::begin(kCaseIgnorablePunctuation), std::end(kCaseIgnorablePunctuation), c) !=
             std::end(kCaseIgnorablePunctuation);
  }
}

/// SpecialCasing's Final_Sigma: a cased letter before text[i], none after it, case-ignorable characters set aside.
bool is_final_sigma(TextView text, size_t i) {
  size_t before = i;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = i + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

}  // namespace

Text decode_utf8(std::string_view bytes) {
  std::string repaired;
  if (!is_valid_utf8(bytes)) bytes = repaired = to_valid_utf8(bytes);
  Text text;
  text.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i++]);
    const int continuation = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    char32_t c = continuation == 0 ? lead : lead & (0x3F >> continuation);
    for (int k = 0; k < continuation; ++k) c = (c << 6) | (static_cast<unsigned char>(bytes[i++]) & 0x3F);
    text.push_back(c);
  }
  return text;
}

std::string encode_utf8(TextView text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) {
    utf8proc_uint8_t buffer[4];
    const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), buffer);
    bytes.append(reinterpret_cast<const char*>(buffer), static_cast<size_t>(n));
  }
  return bytes;
}

bool is_pattern_space(char32_t c) {
  if (c < 0x80) return c == U' ' || (c >= U'\t' && c <= U'\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_space(char32_t c) { return is_pattern_space(c) || (c >= 0x1C && c <= 0x1F); }

bool is_word(char32_t c) {
  if (c < 0x80) return is_ascii_letter(c) || is_ascii_digit(c) || c == U'_';
  const auto cat = category(c);
  return is_letter(cat) || (cat >= UTF8PROC_CATEGORY_ND && cat <= UTF8PROC_CATEGORY_NO);
}

bool is_pattern_word(char32_t c) {
  if (c < 0x80) return is_word(c);
  const auto cat = category(c);
  return is_letter(cat) || is_mark(cat) || cat == UTF8PROC_CATEGORY_ND || cat == UTF8PROC_CATEGORY_NL ||
         cat == UTF8PROC_CATEGORY_PC || c == 0x200C || c == 0x200D || is_in(kAlphabeticSymbols, c);
}

bool is_decimal(char32_t c) { return c < 0x80 ? is_ascii_digit(c) : category(c) == UTF8PROC_CATEGORY_ND; }

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= U'A' && c <= U'Z';
  return category(c) == UTF8PROC_CATEGORY_LU || is_in(kOtherUppercase, c);
}

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= U'a' && c <= U'z';
  return category(c) == UTF8PROC_CATEGORY_LL || is_in(kOtherLowercase, c);
}

Text to_lower(TextView text) {
  Text lowered;
  lowered.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (c < 0x80) {
      lowered.push_back(c >= U'A' && c <= U'Z' ? c + 32 : c);
    } else if (c == 0x0130) {
      lowered.append(U"i\u0307");
    } else if (c == 0x03A3) {
      lowered.push_back(is_final_sigma(text, i) ? 0x03C2 : 0x03C3);
    } else {
      lowered.push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  }
  return lowered;
}

std::vector<Text> split_words(TextView text) {
  std::vector<Text> words;
  for (size_t i = 0; i < text.size();) {
    while (i < text.size() && is_space(text[i])) ++i;
    const size_t start = i;
    while (i < text.size() && !is_space(text[i])) ++i;
    if (i > start) words.emplace_back(text.substr(start, i - start));
  }
  return words;
}

TextView strip_right(TextView text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace mpeft::metrics
