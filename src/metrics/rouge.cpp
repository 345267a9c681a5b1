#include "metrics/rouge.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>
#include <unordered_map>

#include "mpeft/core/strings.h"

#include "metrics/lcs.h"
#include "metrics/porter_stemmer.h"
#include "metrics/records.h"
#include "metrics/vocabulary.h"

namespace mpeft::metrics {
namespace {

using Tokens = std::vector<uint32_t>;
using Frequencies = std::unordered_map<uint64_t, int64_t>;

constexpr RougeType kAllTypes[] = {RougeType::kUnigrams, RougeType::kBigrams, RougeType::kLcs, RougeType::kSummaryLcs};

RougeScore make_score(size_t hits, size_t predicted, size_t referred) {
  RougeScore score;
  score.precision = static_cast<double>(hits) / static_cast<double>(std::max<size_t>(predicted, 1));
  score.recall = static_cast<double>(hits) / static_cast<double>(std::max<size_t>(referred, 1));
  if (hits > 0) score.f = 2 * score.precision * score.recall / (score.precision + score.recall);
  return score;
}

/// Frequencies of the n-grams of one or two tokens, both packed in one number.
Frequencies count_ngrams(const Tokens& tokens, size_t n) {
  Frequencies counts;
  for (size_t i = 0; i + n <= tokens.size(); ++i)
    ++counts[n == 1 ? tokens[i] : (uint64_t{tokens[i]} << 32 | tokens[i + 1])];
  return counts;
}

RougeScore score_ngrams(const Tokens& prediction, const Tokens& reference, size_t n) {
  const Frequencies predicted = count_ngrams(prediction, n);
  int64_t hits = 0;
  for (const auto& [ngram, count] : count_ngrams(reference, n)) {
    if (const auto found = predicted.find(ngram); found != predicted.end()) hits += std::min(count, found->second);
  }
  const auto size = [&](const Tokens& tokens) { return tokens.size() + 1 - std::min(n, tokens.size() + 1); };
  return make_score(static_cast<size_t>(hits), size(prediction), size(reference));
}

using Sentences = std::vector<Tokens>;

size_t total_size(const Sentences& sentences) {
  return std::accumulate(sentences.begin(), sentences.end(), size_t{0},
                         [](size_t sum, const Tokens& tokens) { return sum + tokens.size(); });
}

Frequencies count_tokens(const Sentences& sentences) {
  Frequencies counts;
  for (const Tokens& tokens : sentences) {
    for (const uint32_t token : tokens) ++counts[token];
  }
  return counts;
}

/// ROUGE paper, 3.2: for each reference sentence the union of its subsequences with every predicted sentence; no token
/// counts more often than either text has it (as in ROUGE 1.5.5).
RougeScore score_summary(const Sentences& prediction, const Sentences& reference) {
  Frequencies predicted = count_tokens(prediction);
  Frequencies referred = count_tokens(reference);
  // A sentence that is predicted again adds nothing to the union.
  std::vector<LcsColumns> columns;
  for (const Tokens& tokens : std::set<Tokens>(prediction.begin(), prediction.end())) columns.emplace_back(tokens);
  size_t hits = 0;
  for (const Tokens& sentence : reference) {
    std::vector<bool> in_union(sentence.size());
    for (const LcsColumns& other : columns) {
      for (const size_t place : other.positions(sentence)) in_union[place] = true;
    }
    for (size_t i = 0; i < sentence.size(); ++i) {
      if (!in_union[i] || predicted[sentence[i]] == 0 || referred[sentence[i]] == 0) continue;
      ++hits;
      --predicted[sentence[i]];
      --referred[sentence[i]];
    }
  }
  return make_score(hits, total_size(prediction), total_size(reference));
}

Sentences number_lines(std::string_view text, bool stem, Vocabulary& vocabulary) {
  Sentences sentences;
  for (const std::string& line : split(text, '\n')) sentences.push_back(vocabulary.number(rouge_tokens(line, stem)));
  return sentences;
}

RougeScore score_pair(std::string_view prediction, std::string_view reference, RougeType type, bool stem) {
  Vocabulary vocabulary;
  if (type == RougeType::kSummaryLcs) {
    const Sentences predicted = number_lines(prediction, stem, vocabulary);
    return score_summary(predicted, number_lines(reference, stem, vocabulary));
  }
  const Tokens predicted = vocabulary.number(rouge_tokens(prediction, stem));
  const Tokens referred = vocabulary.number(rouge_tokens(reference, stem));
  if (type == RougeType::kLcs) {
    return make_score(LcsColumns(predicted).length(referred), predicted.size(), referred.size());
  }
  return score_ngrams(predicted, referred, type == RougeType::kUnigrams ? 1 : 2);
}

/// Mean F over the records of each type, named "rouge1", … and with stems "rouge1_stemmed", ….
class Rouge : public Metric {
 public:
  Rouge(std::vector<RougeType> types, bool stem) : types_(std::move(types)), stem_(stem) {}

  Scores score(const std::vector<Record>& records) const override {
    require_references(records);
    Scores scores;
    for (const RougeType type : types_) {
      double sum = 0;
      for (const Record& record : records) sum += rouge_of(record, type, stem_).f;
      scores[rouge_name(type) + (stem_ ? "_stemmed" : "")] = sum / static_cast<double>(records.size());
    }
    return scores;
  }

 private:
  std::vector<RougeType> types_;
  bool stem_;
};

std::unique_ptr<Metric> make(RougeType type, bool stem) {
  return std::make_unique<Rouge>(std::vector<RougeType>{type}, stem);
}

std::unique_ptr<Metric> make_all(bool stem) {
  return std::make_unique<Rouge>(std::vector<RougeType>(std::begin(kAllTypes), std::end(kAllTypes)), stem);
}

}  // namespace

std::string rouge_name(RougeType type) {
  switch (type) {
    case RougeType::kUnigrams:
      return "rouge1";
    case RougeType::kBigrams:
      return "rouge2";
    case RougeType::kLcs:
      return "rougeL";
    case RougeType::kSummaryLcs:
      break;
  }
  return "rougeLsum";
}

std::vector<Text> rouge_tokens(std::string_view bytes, bool stem) {
  const Text text = to_lower(decode_utf8(bytes));
  const auto is_token = [](char32_t c) { return (c >= U'a' && c <= U'z') || (c >= U'0' && c <= U'9'); };
  std::vector<Text> tokens;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    while (i < text.size() && is_token(text[i])) ++i;
    if (i == start) {
      ++i;
      continue;
    }
    Text token = text.substr(start, i - start);
    tokens.push_back(stem && token.size() > 3 ? porter_stem(token) : std::move(token));
  }
  return tokens;
}

RougeScore rouge_of(const Record& record, RougeType type, bool stem) {
  RougeScore best;
  for (size_t i = 0; i < record.references.size(); ++i) {
    const RougeScore score = score_pair(record.prediction, record.references[i], type, stem);
    if (i == 0 || score.f > best.f) best = score;
  }
  return best;
}

std::unique_ptr<Metric> make_rouge() { return make_all(false); }
std::unique_ptr<Metric> make_rouge_stemmed() { return make_all(true); }
std::unique_ptr<Metric> make_rouge1() { return make(RougeType::kUnigrams, false); }
std::unique_ptr<Metric> make_rouge2() { return make(RougeType::kBigrams, false); }
std::unique_ptr<Metric> make_rougeL() { return make(RougeType::kLcs, false); }
std::unique_ptr<Metric> make_rougeLsum() { return make(RougeType::kSummaryLcs, false); }
std::unique_ptr<Metric> make_rouge1_stemmed() { return make(RougeType::kUnigrams, true); }
std::unique_ptr<Metric> make_rouge2_stemmed() { return make(RougeType::kBigrams, true); }
std::unique_ptr<Metric> make_rougeL_stemmed() { return make(RougeType::kLcs, true); }
std::unique_ptr<Metric> make_rougeLsum_stemmed() { return make(RougeType::kSummaryLcs, true); }

}  // namespace mpeft::metrics
