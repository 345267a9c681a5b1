#include "metrics/punkt.h"

#include <algorithm>

#include "metrics/punkt_context.h"

namespace mpeft::metrics {
namespace {

struct Span {
  size_t begin = 0;
  size_t end = 0;
};

/// A place where a sentence may end: after text[stop].
struct Candidate {
  size_t word_begin = 0;  ///< the word that the stop ends
  size_t stop = 0;
  size_t next_word = 0;    ///< where the next sentence would begin
  size_t context_end = 0;  ///< after the next word, or after the delimiter that follows the stop
};

bool is_sentence_end(char32_t c) { return c == U'.' || c == U'?' || c == U'!'; }

/// string.whitespace of Python.
bool is_ascii_space(char32_t c) { return c == U' ' || (c >= U'\t' && c <= U'\r'); }

/// Fills next_word and context_end for the stop at text[i]; false when neither a delimiter nor another word follows.
bool find_follower(TextView text, size_t i, Candidate& candidate) {
  if (i + 1 == text.size()) return false;
  candidate.stop = i;
  if (is_punkt_delimiter(text[i + 1])) {
    candidate.next_word = i + 1;
    candidate.context_end = i + 2;
    return true;
  }
  size_t next = i + 1;
  while (next < text.size() && is_pattern_space(text[next])) ++next;
  if (next == i + 1 || next == text.size()) return false;
  candidate.next_word = next;
  while (next < text.size() && !is_pattern_space(text[next])) ++next;
  candidate.context_end = next;
  return true;
}

/// Where the word before `stop` begins, looking back no further than the stop before. NLTK takes white space in the
/// very first place for none (its helper returns 0 for both); then the word begins where the one before did.
size_t find_word_begin(TextView text, const Span& previous_word, size_t stop) {
  for (size_t i = stop; i > previous_word.end + 1; --i) {
    if (is_ascii_space(text[i - 1])) return i;
  }
  return previous_word.begin;
}

/// The candidates, of those that share a word only the last ("acting!!!" has one).
std::vector<Candidate> find_candidates(TextView text) {
  std::vector<Candidate> candidates;
  Span previous_word;
  for (size_t i = 0; i < text.size(); ++i) {
    Candidate candidate;
    if (!is_sentence_end(text[i]) || !find_follower(text, i, candidate)) continue;
    candidate.word_begin = find_word_begin(text, previous_word, i);
    const bool overlaps = !candidates.empty() && candidates.back().stop > candidate.word_begin;
    if (overlaps) candidates.pop_back();
    candidates.push_back(candidate);
    previous_word = {candidate.word_begin, i};
  }
  return candidates;
}

std::vector<Span> find_sentences(TextView text, const PunktParameters& parameters) {
  std::vector<Span> sentences;
  size_t begin = 0;
  for (const Candidate& c : find_candidates(text)) {
    if (!contains_sentence_break(text.substr(c.word_begin, c.context_end - c.word_begin), parameters)) continue;
    sentences.push_back({begin, c.stop + 1});
    begin = c.next_word;
  }
  sentences.push_back({begin, std::max(begin, strip_right(text).size())});
  return sentences;
}

bool is_closing(char32_t c) { return TextView(U"\"')]}‘’“”«»").find(c) != TextView::npos; }

/// Closing quotes and brackets at the beginning of a sentence that belong to the one before: how many, and how many
/// with the white space after them.
struct Closing {
  size_t length = 0;
  size_t with_space = 0;
};

Closing find_closing(TextView sentence) {
  for (size_t n = 1; n <= sentence.size() && is_closing(sentence[n - 1]); ++n) {
    size_t end = n;
    while (end < sentence.size() && is_pattern_space(sentence[end])) ++end;
    if (end > n || n == sentence.size() || sentence.substr(n, 2) == U"--") return {n, end};
  }
  return {};
}

}  // namespace

std::vector<TextView> PunktSentenceSplitter::split(TextView text) const {
  const std::vector<Span> spans = find_sentences(text, parameters_);
  std::vector<TextView> sentences;
  size_t moved = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const size_t begin = spans[i].begin + moved;
    size_t end = spans[i].end;
    moved = 0;
    if (i + 1 < spans.size()) {
      const Span& next = spans[i + 1];
      const Closing closing = find_closing(text.substr(next.begin, next.end - next.begin));
      if (closing.length > 0) end = next.begin + closing.length;
      moved = closing.with_space;
    }
    if (begin < end) sentences.push_back(text.substr(begin, end - begin));
  }
  return sentences;
}

}  // namespace mpeft::metrics
