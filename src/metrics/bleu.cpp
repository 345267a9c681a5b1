#include "metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "metrics/records.h"
#include "metrics/tokenizer_13a.h"
#include "metrics/vocabulary.h"

namespace mpeft::metrics {
namespace {

constexpr size_t kMaxOrder = 4;

using Ngram = std::array<uint32_t, kMaxOrder>;  // token numbers; 0 beyond the end of a shorter one

struct NgramHash {
  size_t operator()(const Ngram& ngram) const {
    uint64_t hash = 0;
    for (const uint32_t token : ngram) {
      hash = (hash ^ token) * 0x9E3779B97F4A7C15ULL;
      hash ^= hash >> 29;
    }
    return hash;
  }
};

using Counts = std::unordered_map<Ngram, int64_t, NgramHash>;

Counts count_ngrams(const std::vector<uint32_t>& tokens) {
  Counts counts;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Ngram ngram{};
    for (size_t n = 0; n < kMaxOrder && i + n < tokens.size(); ++n) {
      ngram[n] = tokens[i + n];
      ++counts[ngram];
    }
  }
  return counts;
}

size_t order_of(const Ngram& ngram) {
  return static_cast<size_t>(std::find(ngram.begin(), ngram.end(), 0U) - ngram.begin());
}

struct Totals {
  std::array<int64_t, kMaxOrder> matches{};
  std::array<int64_t, kMaxOrder> possible{};
  int64_t translation_length = 0;
  int64_t reference_length = 0;

  void add(const Record& record) {
    Vocabulary vocabulary;
    const auto prediction = vocabulary.number(tokenize_13a(record.prediction));
    Counts most;  // of each n-gram, the largest count in one reference
    auto shortest = std::numeric_limits<size_t>::max();
    for (const std::string& text : record.references) {
      const auto reference = vocabulary.number(tokenize_13a(text));
      shortest = std::min(shortest, reference.size());
      for (const auto& [ngram, count] : count_ngrams(reference)) {
        auto& largest = most[ngram];
        largest = std::max(largest, count);
      }
    }
    for (const auto& [ngram, count] : count_ngrams(prediction)) {
      const auto found = most.find(ngram);
      if (found != most.end()) matches[order_of(ngram) - 1] += std::min(count, found->second);
    }
    for (size_t n = 0; n < kMaxOrder; ++n) {
      if (prediction.size() > n) possible[n] += static_cast<int64_t>(prediction.size() - n);
    }
    translation_length += static_cast<int64_t>(prediction.size());
    reference_length += static_cast<int64_t>(shortest);
  }
};

class Bleu : public Metric {
 public:
  Scores score(const std::vector<Record>& records) const override { return {{"bleu", bleu_of(records).bleu}}; }
};

}  // namespace

BleuParts bleu_of(const std::vector<Record>& records) {
  require_references(records);
  Totals totals;
  for (const Record& record : records) totals.add(record);
  BleuParts parts;
  parts.translation_length = totals.translation_length;
  parts.reference_length = totals.reference_length;
  double log_mean = 0;
  for (size_t n = 0; n < kMaxOrder; ++n) {
    if (totals.possible[n] > 0) {
      parts.precisions[n] = static_cast<double>(totals.matches[n]) / static_cast<double>(totals.possible[n]);
    }
    log_mean += std::log(parts.precisions[n]) / kMaxOrder;  // minus infinity where nothing matches: a mean of 0
  }
  if (totals.translation_length == 0 || totals.reference_length == 0) return parts;
  const double ratio = static_cast<double>(totals.translation_length) / static_cast<double>(totals.reference_length);
  parts.brevity_penalty = ratio > 1 ? 1 : std::exp(1 - 1 / ratio);
  parts.bleu = std::exp(log_mean) * parts.brevity_penalty;
  return parts;
}

std::unique_ptr<Metric> make_bleu() { return std::make_unique<Bleu>(); }

}  // namespace mpeft::metrics
