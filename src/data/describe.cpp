#include "mpeft/data/describe.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

int64_t nearest_rank(const std::vector<int64_t>& sorted, int64_t percent) {
  const auto n = static_cast<int64_t>(sorted.size());
  return sorted[static_cast<size_t>((n * percent + 99) / 100 - 1)];
}

std::string padded(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

std::vector<ShownExample> show_examples(const TokenizedDataset& dataset, const text::Tokenizer& tokenizer, int64_t n) {
  std::vector<ShownExample> shown;
  for (const auto& example : dataset.examples) {
    if (static_cast<int64_t>(shown.size()) >= n) break;
    ShownExample item;
    item.record = example.record;
    item.references = example.references;
    const auto middle = example.ids.begin() + static_cast<std::ptrdiff_t>(example.prompt_length);
    item.prompt = tokenizer.decode({example.ids.begin(), middle}, false);
    item.target = tokenizer.decode({middle, example.ids.end()}, false);
    for (size_t i = 0; i < example.ids.size(); ++i) {
      // The first token of a text is predicted by nothing.
      const bool carries_loss = i > 0 && static_cast<int64_t>(i) >= example.prompt_length;
      item.tokens.push_back({example.ids[i], tokenizer.decode({example.ids[i]}, false), carries_loss});
    }
    shown.push_back(std::move(item));
  }
  return shown;
}

LengthSummary summarize_lengths(std::vector<int64_t> lengths) {
  if (lengths.empty()) return {};
  std::sort(lengths.begin(), lengths.end());
  return {nearest_rank(lengths, 50), nearest_rank(lengths, 95), lengths.back(),
          std::accumulate(lengths.begin(), lengths.end(), int64_t{0})};
}

std::vector<HistogramBin> length_histogram(const std::vector<int64_t>& lengths, int64_t n_bins) {
  if (lengths.empty() || n_bins < 1) return {};
  const auto [smallest, largest] = std::minmax_element(lengths.begin(), lengths.end());
  const int64_t low = *smallest, span = *largest - low + 1;
  const int64_t width = (span + n_bins - 1) / n_bins;
  std::vector<HistogramBin> bins;
  for (int64_t begin = low; begin <= *largest; begin += width) bins.push_back({begin, begin + width - 1, 0});
  for (const int64_t length : lengths) ++bins[static_cast<size_t>((length - low) / width)].count;
  return bins;
}

std::vector<std::string> histogram_lines(const std::vector<HistogramBin>& bins, int64_t width) {
  int64_t most = 1;
  size_t label_width = 0, count_width = 0;
  for (const auto& bin : bins) {
    most = std::max(most, bin.count);
    label_width = std::max(label_width, str(bin.low, "-", bin.high).size());
    count_width = std::max(count_width, with_thousands(bin.count).size());
  }
  std::vector<std::string> lines;
  for (const auto& bin : bins) {
    const auto share = static_cast<double>(bin.count) / static_cast<double>(most);
    auto bar = static_cast<size_t>(std::llround(share * static_cast<double>(width)));
    if (bin.count > 0) bar = std::max<size_t>(bar, 1);
    lines.push_back(str(padded(str(bin.low, "-", bin.high), label_width), "  ",
                        padded(with_thousands(bin.count), count_width), "  ", std::string(bar, '#')));
  }
  return lines;
}

DatasetStatistics dataset_statistics(const TextDataset& text, const TokenizedDataset& tokens) {
  DatasetStatistics statistics;
  statistics.n_records = static_cast<int64_t>(text.examples.size());
  statistics.n_examples = static_cast<int64_t>(tokens.examples.size());
  statistics.n_dropped = tokens.n_dropped;
  statistics.notes = text.notes;
  statistics.metrics = text.metrics;
  statistics.source_files = text.source_files;
  std::vector<int64_t> lengths, prompts, targets;
  for (const auto& example : tokens.examples) {
    lengths.push_back(static_cast<int64_t>(example.ids.size()));
    prompts.push_back(example.prompt_length);
    targets.push_back(lengths.back() - example.prompt_length);
  }
  constexpr int64_t kBins = 12;
  statistics.histogram = length_histogram(lengths, kBins);
  statistics.length = summarize_lengths(std::move(lengths));
  statistics.prompt_length = summarize_lengths(std::move(prompts));
  statistics.target_length = summarize_lengths(std::move(targets));
  if (statistics.length.total > 0) {
    statistics.label_share =
        static_cast<double>(statistics.target_length.total) / static_cast<double>(statistics.length.total);
  }
  return statistics;
}

}  // namespace mpeft::data
