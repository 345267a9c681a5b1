#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Text as Python sees it: a sequence of code points, with Python's own ideas of white space, words and case. The
/// metrics are defined by Python programs, and their regular expressions and str methods disagree with each other and
/// with PCRE2 on a few hundred code points; the functions below name whose idea they are. Character data is utf8proc's
/// (Unicode 15); a code point that only one side knows (assigned after Python's version) can be classed differently.
namespace mpeft::metrics {

using Text = std::u32string;
using TextView = std::u32string_view;

/// The code points of UTF-8 text; each maximal ill-formed part becomes one U+FFFD.
Text decode_utf8(std::string_view bytes);

/// UTF-8 of code points.
std::string encode_utf8(TextView text);

/// str.isspace, which str.split, str.strip and `re`'s \s share: White_Space and U+001C … U+001F.
bool is_space(char32_t c);

/// White_Space: \s of the `regex` package, which today's NLTK compiles its patterns with.
bool is_pattern_space(char32_t c);

/// \w of `re`: str.isalnum or '_'.
bool is_word(char32_t c);

/// \w of the `regex` package: Alphabetic, marks, decimal digits, connectors and joiners.
bool is_pattern_word(char32_t c);

/// \d: a decimal digit of any script.
bool is_decimal(char32_t c);

/// str.isupper and str.islower of one character.
bool is_upper(char32_t c);
bool is_lower(char32_t c);

/// str.lower: simple mappings, and the two of SpecialCasing.txt that apply everywhere (U+0130 and the final sigma).
Text to_lower(TextView text);

/// str.split(): the pieces between white space.
std::vector<Text> split_words(TextView text);

/// str.rstrip(): the text without white space at its end.
TextView strip_right(TextView text);

}  // namespace mpeft::metrics
