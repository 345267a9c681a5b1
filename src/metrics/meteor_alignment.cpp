#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <utility>
#include <vector>

#include "metrics/meteor.h"
#include "metrics/porter_stemmer.h"

namespace mpeft::metrics {
namespace {

/// A word that no stage has matched yet, and its place in its sentence.
struct Word {
  size_t place;
  Text text;
};

using Match = std::pair<size_t, size_t>;  // places in prediction and reference

/// The places (in a list of reference words) where each word stands, the last one first to be taken.
class Positions {
 public:
  explicit Positions(const std::vector<Word>& words) {
    for (size_t j = 0; j < words.size(); ++j) places_[words[j].text].push_back(j);
  }

  /// The last free place of `word` plus one; 0 when there is none.
  size_t last(const Text& word) const {
    const auto found = places_.find(word);
    return found == places_.end() || found->second.empty() ? 0 : found->second.back() + 1;
  }

  void take_last(const Text& word) { places_[word].pop_back(); }

 private:
  std::unordered_map<Text, std::vector<size_t>> places_;
};

/// Matches each predicted word, from the last to the first, to the last free reference word for which `find` has a
/// place (see Positions::last; the word found is written to its second argument), and removes both from the lists.
template <typename Find>
void match_words(std::vector<Word>& prediction, std::vector<Word>& reference, std::vector<Match>& matches, Find find) {
  Positions positions(reference);
  std::vector<bool> predicted(prediction.size());
  std::vector<bool> referred(reference.size());
  for (size_t i = prediction.size(); i-- > 0;) {
    const Text* as = nullptr;
    const size_t place = find(positions, prediction[i].text, as);
    if (place == 0) continue;
    positions.take_last(*as);
    predicted[i] = referred[place - 1] = true;
    matches.emplace_back(prediction[i].place, reference[place - 1].place);
  }
  const auto erase = [](std::vector<Word>& words, const std::vector<bool>& taken) {
    size_t kept = 0;
    for (size_t i = 0; i < words.size(); ++i) {
      if (taken[i]) continue;
      if (kept != i) words[kept] = std::move(words[i]);
      ++kept;
    }
    words.resize(kept);
  };
  erase(prediction, predicted);
  erase(reference, referred);
}

size_t find_same(const Positions& positions, const Text& word, const Text*& as) {
  as = &word;
  return positions.last(word);
}

/// Exact matches, then equal stems, then synonyms. The last stage sees the stems that the second one left, not the
/// words: so does NLTK's.
std::vector<Match> align(std::vector<Word> prediction, std::vector<Word> reference, const Synonyms& synonyms) {
  std::vector<Match> matches;
  match_words(prediction, reference, matches, find_same);
  for (std::vector<Word>* words : {&prediction, &reference}) {
    for (Word& word : *words) word.text = porter_stem(word.text);
  }
  match_words(prediction, reference, matches, find_same);
  if (reference.empty()) return matches;
  match_words(prediction, reference, matches, [&](const Positions& positions, const Text& word, const Text*& as) {
    size_t best = find_same(positions, word, as);
    for (const Text& synonym : synonyms(word)) {
      if (const size_t place = positions.last(synonym); place > best) {
        best = place;
        as = &synonym;
      }
    }
    return best;
  });
  return matches;
}

/// Runs of matches that are neighbours in both sentences.
size_t count_chunks(const std::vector<Match>& matches) {
  size_t chunks = 1;
  for (size_t i = 1; i < matches.size(); ++i) {
    const bool adjacent =
        matches[i].first == matches[i - 1].first + 1 && matches[i].second == matches[i - 1].second + 1;
    if (!adjacent) ++chunks;
  }
  return chunks;
}

std::vector<Word> enumerate(std::span<const Text> words) {
  std::vector<Word> enumerated;
  enumerated.reserve(words.size());
  for (size_t i = 0; i < words.size(); ++i) enumerated.push_back({i, words[i]});
  return enumerated;
}

}  // namespace

double meteor_of_words(std::span<const Text> prediction, std::span<const Text> reference, const Synonyms& synonyms) {
  constexpr double kAlpha = 0.9;
  constexpr double kBeta = 3.0;
  constexpr double kGamma = 0.5;
  std::vector<Match> matches = align(enumerate(prediction), enumerate(reference), synonyms);
  if (matches.empty()) return 0.0;
  std::sort(matches.begin(), matches.end());
  const auto n = static_cast<double>(matches.size());
  const double precision = n / static_cast<double>(prediction.size());
  const double recall = n / static_cast<double>(reference.size());
  const double mean = precision * recall / (kAlpha * precision + (1 - kAlpha) * recall);
  const double fragmentation = static_cast<double>(count_chunks(matches)) / n;
  return (1 - kGamma * std::pow(fragmentation, kBeta)) * mean;
}

}  // namespace mpeft::metrics
