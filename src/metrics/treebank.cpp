#include "metrics/treebank.h"

#include <algorithm>

// The tokenizer is defined as a cascade of substitutions, each over the whole sentence. Every step here is one of them,
// in the same order and with the same non-overlapping, left-to-right matches.
namespace mpeft::metrics {
namespace {

constexpr TextView kApostrophe = U"'";

bool is_one_of(char32_t c, TextView set) { return set.find(c) != TextView::npos; }

/// Blanks around every run of at least `shortest` characters of `set`, at most `longest` taken at a time.
Text pad_runs(TextView text, TextView set, size_t shortest, size_t longest) {
  Text out;
  out.reserve(text.size() + 16);
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && end - i < longest && is_one_of(text[end], set)) ++end;
    if (end - i >= shortest && end > i) {
      out.append(1, U' ').append(text, i, end - i).append(1, U' ');
      i = end;
    } else {
      out.push_back(text[i++]);
    }
  }
  return out;
}

Text pad_each(TextView text, TextView set) { return pad_runs(text, set, 1, 1); }

Text replace_each(TextView text, TextView from, TextView to) {
  Text out;
  size_t copied = 0;
  for (size_t at = text.find(from); at != TextView::npos; at = text.find(from, copied)) {
    out.append(text, copied, at - copied).append(to);
    copied = at + from.size();
  }
  return out.append(text, copied);
}

/// Quotes after a blank or an opening bracket open.
Text open_quotes(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    out.push_back(text[i]);
    if (!is_one_of(text[i], U" ([{<") || i + 1 == text.size()) continue;
    const size_t quote = text[i + 1] == U'"' ? 1 : text.substr(i + 1, 2) == U"''" ? 2 : 0;
    if (quote == 0) continue;
    out.append(U" `` ");
    i += quote;
  }
  return out;
}

char32_t fold_case(char32_t c) { return c == 0x017F ? U's' : c >= U'A' && c <= U'Z' ? c + 32 : c; }

/// True when text[at …] is re, ve, ll, m, t, s, d or n in either case and the word ends there.
bool is_clitic(TextView text, size_t at) {
  const auto folded = [&](size_t i) { return i < text.size() ? fold_case(text[i]) : U'\0'; };
  const auto ends = [&](size_t i) { return i >= text.size() || !is_pattern_word(text[i]); };
  const char32_t first = folded(at);
  if (is_one_of(first, U"mtsdn") && ends(at + 1)) return true;
  const bool pair =
      (folded(at + 1) == U'e' && (first == U'r' || first == U'v')) || (folded(at + 1) == U'l' && first == U'l');
  return pair && ends(at + 2);
}

/// An apostrophe before a word, other than one that begins a clitic, opens a quotation.
Text split_opening_apostrophes(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    out.push_back(text[i]);
    const bool opens = text[i] == U'\'' && (i == 0 || !is_pattern_word(text[i - 1])) && i + 1 < text.size() &&
                       is_pattern_word(text[i + 1]) && !is_clitic(text, i + 1);
    if (opens) out.push_back(U' ');
  }
  return out;
}

/// The sentence's last full stop, unless it follows another, when only characters of `closing` and then white space
/// follow: the stop stands alone, `between` follows it, then what closed.
Text split_final_stop(Text text, TextView closing, TextView between) {
  const size_t stop = text.rfind(U'.');
  if (stop == Text::npos || stop == 0 || text[stop - 1] == U'.') return text;
  size_t end = stop + 1;
  while (end < text.size() && is_one_of(text[end], closing)) ++end;
  if (!std::all_of(text.begin() + static_cast<std::ptrdiff_t>(end), text.end(), is_pattern_space)) return text;
  const Text closed = text.substr(stop + 1, end - stop - 1);
  text.resize(stop);
  return text.append(U" .").append(between).append(closed).append(1, U' ');
}

/// Colons and commas apart from what follows, unless that is a digit.
Text split_colons(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_one_of(text[i], U":,") && i + 1 < text.size() && !is_decimal(text[i + 1])) {
      out.append({U' ', text[i], U' ', text[i + 1]});
      ++i;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

/// A colon or comma at the end, or before a newline at the end.
Text split_final_colon(Text text) {
  size_t last = text.size();
  if (last > 1 && text[last - 1] == U'\n' && is_one_of(text[last - 2], U":,")) --last;
  if (last == 0 || !is_one_of(text[last - 1], U":,")) return text;
  text.insert(last, 1, U' ');
  text.insert(last - 1, 1, U' ');
  return text;
}

/// A blank before an apostrophe that a blank follows.
Text split_closing_apostrophes(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    out.push_back(text[i]);
    if (text[i] == U'\'' || text.substr(i + 1, 2) != U"' ") continue;
    out.append(U" ' ");
    i += 2;
  }
  return out;
}

Text join_spaces(TextView text) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_pattern_space(text[i])) {
      out.push_back(text[i]);
    } else if (i == 0 || !is_pattern_space(text[i - 1])) {
      out.push_back(U' ');
    }
  }
  return out;
}

/// Length of the longest-first suffix of `suffixes` at text[at …] that a blank follows, or 0.
template <size_t n>
size_t suffix_at(TextView text, size_t at, const TextView (&suffixes)[n]) {
  for (const TextView suffix : suffixes) {
    const size_t end = at + suffix.size();
    if (end < text.size() && text[end] == U' ' && text.substr(at, suffix.size()) == suffix) return suffix.size();
  }
  return 0;
}

/// A blank before a clitic that ends a word (and after it the blank that was there).
template <size_t n>
Text split_suffixes(TextView text, const TextView (&suffixes)[n]) {
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    out.push_back(text[i]);
    if (is_one_of(text[i], U"' ")) continue;
    const size_t length = suffix_at(text, i + 1, suffixes);
    if (length == 0) continue;
    out.append(1, U' ').append(text, i + 1, length).append(1, U' ');
    i += length + 1;
  }
  return out;
}

/// A contraction of two words: where `first` and `second` follow each other in either case, they are set apart.
struct Contraction {
  TextView first;
  TextView second;
  enum class Where { kWord, kWordBeforeSpace, kAfterBlank } where;
};

using Where = Contraction::Where;
constexpr Contraction kContractions[] = {{U"can", U"not", Where::kWord},     {U"d", U"'ye", Where::kWord},
                                         {U"gim", U"me", Where::kWord},      {U"gon", U"na", Where::kWord},
                                         {U"got", U"ta", Where::kWord},      {U"lem", U"me", Where::kWord},
                                         {U"more", U"'n", Where::kWord},     {U"wan", U"na", Where::kWordBeforeSpace},
                                         {U"'t", U"is", Where::kAfterBlank}, {U"'t", U"was", Where::kAfterBlank}};

/// `re` ignoring case: besides the case pairs, it takes U+0130 and U+0131 for i and U+017F for s.
bool matches_ignoring_case(TextView text, size_t at, TextView pattern) {
  if (text.size() - std::min(at, text.size()) < pattern.size()) return false;
  for (size_t k = 0; k < pattern.size(); ++k) {
    const char32_t c = text[at + k];
    const char32_t folded = c == 0x0130 || c == 0x0131 ? U'i' : fold_case(c);
    if (folded != pattern[k]) return false;
  }
  return true;
}

bool is_word_edge(TextView text, size_t at) {
  const bool before = at > 0 && is_word(text[at - 1]);
  const bool after = at < text.size() && is_word(text[at]);
  return before != after;
}

/// Length of the contraction that matches at text[at …], a leading blank included, or 0.
size_t contraction_at(TextView text, size_t at, const Contraction& c) {
  const size_t lead = c.where == Where::kAfterBlank ? 1 : 0;
  if (lead == 1 ? text[at] != U' ' : !is_word_edge(text, at)) return 0;
  const size_t second = at + lead + c.first.size();
  const size_t end = second + c.second.size();
  if (!matches_ignoring_case(text, at + lead, c.first) || !matches_ignoring_case(text, second, c.second)) return 0;
  const bool ends =
      c.where == Where::kWordBeforeSpace ? end < text.size() && is_space(text[end]) : is_word_edge(text, end);
  return ends ? end - at : 0;
}

Text split_contraction(const Text& text, const Contraction& c) {
  Text out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = contraction_at(text, i, c);
    if (length == 0) {
      out.push_back(text[i++]);
      continue;
    }
    const size_t first = i + length - c.second.size() - c.first.size();
    out.append(1, U' ').append(text, first, c.first.size()).append(1, U' ');
    out.append(text, first + c.first.size(), c.second.size()).append(1, U' ');
    i += length;
  }
  return out;
}

Text start_quotes(TextView sentence) {
  Text text;
  for (size_t i = 0; i < sentence.size();) {
    // A run of backquotes is one quote; each of the others stands alone.
    size_t end = i;
    while (end < sentence.size() && sentence[end] == U'`') ++end;
    if (end == i && is_one_of(sentence[i], U"«“‘„")) ++end;
    if (end == i) {
      text.push_back(sentence[i++]);
      continue;
    }
    text.append(1, U' ').append(sentence, i, end - i).append(1, U' ');
    i = end;
  }
  if (text.starts_with(U'"')) text.replace(0, 1, U"``");
  text = replace_each(text, U"``", U" `` ");
  return split_opening_apostrophes(open_quotes(text));
}

Text split_punctuation(Text text) {
  text = split_final_stop(std::move(text), U"])}>\"'»”’ ", U" ");
  text = split_final_colon(split_colons(text));
  text = pad_runs(text, U".", 2, Text::npos);
  text = pad_each(text, U";@#$%&");
  text = pad_each(text, U"\u2012\u2013\u2014\u2015");
  text = split_final_stop(std::move(text), U"])}>\"'", U"");
  text = pad_each(text, U"?!");
  text = split_closing_apostrophes(text);
  text = pad_each(text, U"*");
  text = pad_each(text, U"][(){}<>");
  return replace_each(text, U"--", U" -- ");
}

Text end_quotes(const Text& padded) {
  static constexpr TextView kShort[] = {U"'s", U"'S", U"'m", U"'M", U"'d", U"'D", kApostrophe};
  static constexpr TextView kLong[] = {U"'ll", U"'LL", U"'re", U"'RE", U"'ve", U"'VE", U"n't", U"N'T"};
  Text text = pad_each(padded, U"»”’");
  text = replace_each(text, U"''", U" '' ");
  text = replace_each(text, U"\"", U" '' ");
  return split_suffixes(split_suffixes(join_spaces(text), kShort), kLong);
}

}  // namespace

std::vector<Text> tokenize_treebank(TextView sentence) {
  const Text marked = split_punctuation(start_quotes(sentence));
  Text text = end_quotes(U" " + marked + U" ");
  for (const Contraction& contraction : kContractions) text = split_contraction(text, contraction);
  return split_words(text);
}

}  // namespace mpeft::metrics
