#include "metrics/meteor.h"

#include <algorithm>
#include <unordered_map>

#include "mpeft/metrics/metric.h"

#include "metrics/records.h"
#include "metrics/word_tokenizer.h"
#include "metrics/wordnet.h"

namespace mpeft::metrics {
namespace {

class Meteor : public Metric {
 public:
  Meteor() : wordnet_(find_wordnet_folder()), tokenizer_(WordTokenizer::load()) {}

  Scores score(const std::vector<Record>& records) const override {
    require_references(records);
    // The same words come back all over a corpus, and a look-up costs some microseconds.
    std::unordered_map<Text, std::set<Text>> known;
    const Synonyms synonyms = [&](const Text& word) -> const std::set<Text>& {
      const auto [entry, is_new] = known.try_emplace(word);
      if (is_new) {
        for (const std::string& lemma : wordnet_.synonyms(encode_utf8(word))) entry->second.insert(decode_utf8(lemma));
      }
      return entry->second;
    };
    double sum = 0;
    for (const Record& record : records) sum += best_of_references(record, synonyms);
    return {{"meteor", sum / static_cast<double>(records.size())}};
  }

 private:
  std::vector<Text> lower_case_words(std::string_view text) const {
    std::vector<Text> words = tokenizer_.tokenize(text);
    for (Text& word : words) word = to_lower(word);
    return words;
  }

  double best_of_references(const Record& record, const Synonyms& synonyms) const {
    const std::vector<Text> prediction = lower_case_words(record.prediction);
    double best = 0;
    for (const std::string& reference : record.references) {
      best = std::max(best, meteor_of_words(prediction, lower_case_words(reference), synonyms));
    }
    return best;
  }

  WordNet wordnet_;
  WordTokenizer tokenizer_;
};

}  // namespace

std::unique_ptr<Metric> make_meteor() { return std::make_unique<Meteor>(); }

}  // namespace mpeft::metrics
