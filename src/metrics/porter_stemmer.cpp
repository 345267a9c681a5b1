#include "metrics/porter_stemmer.h"

#include <utility>

namespace mpeft::metrics {
namespace {

constexpr std::pair<TextView, TextView> kIrregularForms[] = {
    {U"sky", U"sky"},        {U"skies", U"sky"},       {U"dying", U"die"},        {U"lying", U"lie"},
    {U"tying", U"tie"},      {U"news", U"news"},       {U"innings", U"inning"},   {U"inning", U"inning"},
    {U"outings", U"outing"}, {U"outing", U"outing"},   {U"cannings", U"canning"}, {U"canning", U"canning"},
    {U"howe", U"howe"},      {U"proceed", U"proceed"}, {U"exceed", U"exceed"},    {U"succeed", U"succeed"}};

bool is_vowel_letter(char32_t c) { return TextView(U"aeiou").find(c) != TextView::npos; }

/// Calls visit(is_consonant) for each character. A y is a consonant unless one stands before it.
template <typename Visit>
void visit_consonants(TextView word, Visit visit) {
  bool consonant = false;
  for (const char32_t c : word) {
    consonant = c == U'y' ? !consonant : !is_vowel_letter(c);
    visit(consonant);
  }
}

/// Porter's m: the number of vowel-consonant changes.
int measure(TextView stem) {
  int changes = 0;
  bool after_vowel = false;
  visit_consonants(stem, [&](bool consonant) {
    if (consonant && after_vowel) ++changes;
    after_vowel = !consonant;
  });
  return changes;
}

bool contains_vowel(TextView stem) {
  bool found = false;
  visit_consonants(stem, [&](bool consonant) { found = found || !consonant; });
  return found;
}

bool is_consonant(TextView word, size_t i) {
  bool last = true;
  visit_consonants(word.substr(0, i + 1), [&](bool consonant) { last = consonant; });
  return last;
}

bool ends_double_consonant(TextView word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

/// *o of the paper: ends consonant, vowel, consonant other than w, x, y; NLTK adds two-letter stems like "ow".
bool ends_cvc(TextView word) {
  const size_t n = word.size();
  if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
  return n >= 3 && is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) &&
         TextView(U"wxy").find(word[n - 1]) == TextView::npos;
}

struct Rule {
  TextView suffix;
  TextView replacement;
};

/// The first rule whose suffix the word has decides: applied when what is left has a measure above `above`.
template <size_t n>
Text apply_rules(TextView word, const Rule (&rules)[n], int above) {
  for (const auto& [suffix, replacement] : rules) {
    if (!word.ends_with(suffix)) continue;
    const TextView stem = word.substr(0, word.size() - suffix.size());
    return measure(stem) > above ? Text(stem).append(replacement) : Text(word);
  }
  return Text(word);
}

Text without_suffix(TextView word, size_t n, TextView replacement) {
  return Text(word.substr(0, word.size() - n)).append(replacement);
}

/// Plurals.
Text step1a(TextView word) {
  if (word.ends_with(U"ies")) return without_suffix(word, 3, word.size() == 4 ? U"ie" : U"i");
  if (word.ends_with(U"sses")) return without_suffix(word, 2, U"");
  if (word.ends_with(U"ss") || !word.ends_with(U"s")) return Text(word);
  return without_suffix(word, 1, U"");
}

/// After a removed "ed" or "ing": conflat(ed) -> conflate, hopp(ing) -> hop, fil(ing) -> file.
Text restore_ending(TextView stem) {
  if (stem.ends_with(U"at") || stem.ends_with(U"bl") || stem.ends_with(U"iz")) return Text(stem).append(U"e");
  const char32_t last = stem.back();
  const bool keeps_double = last == U'l' || last == U's' || last == U'z';
  if (ends_double_consonant(stem)) return keeps_double ? Text(stem) : without_suffix(stem, 1, U"");
  // NLTK marks the rule above by the suffix "*d", and so takes one that is written in the word for it.
  if (stem.ends_with(U"*d")) return without_suffix(stem, 2, U"d");
  return measure(stem) == 1 && ends_cvc(stem) ? Text(stem).append(U"e") : Text(stem);
}

/// Past tenses and gerunds.
Text step1b(TextView word) {
  if (word.ends_with(U"ied")) return without_suffix(word, 3, word.size() == 4 ? U"ie" : U"i");
  if (word.ends_with(U"eed")) {
    return measure(word.substr(0, word.size() - 3)) > 0 ? without_suffix(word, 1, U"") : Text(word);
  }
  for (const TextView suffix : {TextView(U"ed"), TextView(U"ing")}) {
    if (!word.ends_with(suffix)) continue;
    const TextView stem = word.substr(0, word.size() - suffix.size());
    if (contains_vowel(stem)) return restore_ending(stem);
  }
  return Text(word);
}

Text step1c(TextView word) {
  const bool applies = word.size() > 2 && word.back() == U'y' && is_consonant(word, word.size() - 2);
  return applies ? without_suffix(word, 1, U"i") : Text(word);
}

Text step2(TextView word) {
  static constexpr Rule kRules[] = {
      {U"ational", U"ate"}, {U"tional", U"tion"}, {U"enci", U"ence"}, {U"anci", U"ance"}, {U"izer", U"ize"},
      {U"bli", U"ble"},     {U"alli", U"al"},     {U"entli", U"ent"}, {U"eli", U"e"},     {U"ousli", U"ous"},
      {U"ization", U"ize"}, {U"ation", U"ate"},   {U"ator", U"ate"},  {U"alism", U"al"},  {U"iveness", U"ive"},
      {U"fulness", U"ful"}, {U"ousness", U"ous"}, {U"aliti", U"al"},  {U"iviti", U"ive"}, {U"biliti", U"ble"},
      {U"fulli", U"ful"}};
  if (word.ends_with(U"alli") && measure(word.substr(0, word.size() - 4)) > 0) {
    return step2(without_suffix(word, 2, U""));
  }
  // The l counts with the stem, so that "geologi" and "theologi" lose their ending too.
  if (word.ends_with(U"logi"))
    return measure(word.substr(0, word.size() - 3)) > 0 ? without_suffix(word, 1, U"") : Text(word);
  return apply_rules(word, kRules, 0);
}

Text step3(TextView word) {
  static constexpr Rule kRules[] = {{U"icate", U"ic"}, {U"ative", U""}, {U"alize", U"al"}, {U"iciti", U"ic"},
                                    {U"ical", U"ic"},  {U"ful", U""},   {U"ness", U""}};
  return apply_rules(word, kRules, 0);
}

Text step4(TextView word) {
  static constexpr Rule kRules[] = {{U"al", U""},   {U"ance", U""}, {U"ence", U""}, {U"er", U""},    {U"ic", U""},
                                    {U"able", U""}, {U"ible", U""}, {U"ant", U""},  {U"ement", U""}, {U"ment", U""},
                                    {U"ent", U""},  {U"ou", U""},   {U"ism", U""},  {U"ate", U""},   {U"iti", U""},
                                    {U"ous", U""},  {U"ive", U""},  {U"ize", U""}};
  if (word.ends_with(U"ion")) {
    const TextView stem = word.substr(0, word.size() - 3);
    return measure(stem) > 1 && (stem.back() == U's' || stem.back() == U't') ? Text(stem) : Text(word);
  }
  return apply_rules(word, kRules, 1);
}

Text step5(TextView word) {
  if (word.ends_with(U"e")) {
    const TextView stem = word.substr(0, word.size() - 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) word = stem;
  }
  const bool double_l = word.ends_with(U"ll") && measure(word.substr(0, word.size() - 1)) > 1;
  return double_l ? without_suffix(word, 1, U"") : Text(word);
}

}  // namespace

Text porter_stem(TextView word) {
  for (const auto& [form, stem] : kIrregularForms) {
    if (form == word) return Text(stem);
  }
  if (word.size() <= 2) return Text(word);
  return step5(step4(step3(step2(step1c(step1b(step1a(word)))))));
}

}  // namespace mpeft::metrics
