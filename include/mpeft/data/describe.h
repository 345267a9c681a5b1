#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpeft/data/dataset.h"

namespace mpeft::data {

/// One token as the model sees it.
struct ShownToken {
  text::TokenId id = 0;
  std::string text;           ///< decoded alone; U+FFFD for a part of a character
  bool carries_loss = false;  ///< the model is trained to predict this token
};

/// An example for people: what is put in, what is to come out.
struct ShownExample {
  int64_t record = 0;  ///< index in the source file
  std::string prompt;  ///< decoded prompt, special tokens spelt out
  std::string target;  ///< decoded target, special tokens spelt out
  std::vector<std::string> references;
  std::vector<ShownToken> tokens;
};

/// The first `n` examples (all when fewer).
std::vector<ShownExample> show_examples(const TokenizedDataset& dataset, const text::Tokenizer& tokenizer, int64_t n);

/// Lengths in tokens; percentiles by nearest rank.
struct LengthSummary {
  int64_t p50 = 0;
  int64_t p95 = 0;
  int64_t max = 0;
  int64_t total = 0;
};

/// Summary of lengths in any order; all zero for none.
LengthSummary summarize_lengths(std::vector<int64_t> lengths);

/// Lengths in [low, high].
struct HistogramBin {
  int64_t low = 0;
  int64_t high = 0;
  int64_t count = 0;
};

/// At most `n_bins` bins of equal width over [smallest, largest]; no bins for no lengths.
std::vector<HistogramBin> length_histogram(const std::vector<int64_t>& lengths, int64_t n_bins);

/// One line a bin: "12-23  17  ########". Bars are at most `width` characters, and at least one where there is
/// anything.
std::vector<std::string> histogram_lines(const std::vector<HistogramBin>& bins, int64_t width);

/// What `mpeft data stats` shows of one split.
struct DatasetStatistics {
  int64_t n_records = 0;   ///< records read
  int64_t n_examples = 0;  ///< rows that the model sees (training: one per reference)
  int64_t n_dropped = 0;   ///< rows longer than the limit
  LengthSummary length;    ///< prompt and target together
  LengthSummary prompt_length;
  LengthSummary target_length;          ///< the end token included
  double label_share = 0;               ///< tokens that carry loss / all tokens
  std::vector<HistogramBin> histogram;  ///< of length
  std::vector<std::string> notes;
  std::vector<std::string> metrics;
  std::vector<std::string> source_files;
};

DatasetStatistics dataset_statistics(const TextDataset& text, const TokenizedDataset& tokens);

}  // namespace mpeft::data
