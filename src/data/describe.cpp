#include "mpeft/data/describe.h"

#include <algorithm>
#include <bit>

#include "mpeft/core/strings.h"

namespace mpeft::data {

LengthStatistics length_statistics(const TokenizedDataset& dataset) {
  LengthStatistics result;
  result.n_examples = static_cast<int64_t>(dataset.examples.size());
  result.n_dropped = dataset.n_dropped;
  std::vector<int64_t> lengths;
  for (const auto& example : dataset.examples) {
    const auto length = static_cast<int64_t>(example.ids.size());
    lengths.push_back(length);
    result.n_tokens += length;
    result.n_labels += length - example.prompt_length;
  }
  if (lengths.empty()) return result;
  std::sort(lengths.begin(), lengths.end());
  result.p50 = lengths[lengths.size() / 2];
  result.p95 = lengths[std::min(lengths.size() - 1, lengths.size() * 95 / 100)];
  result.max = lengths.back();

  constexpr int64_t kBuckets = 12;
  const auto width = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, result.max / kBuckets))));
  for (int64_t low = lengths.front() / width * width; low <= result.max; low += width) {
    const auto begin = std::lower_bound(lengths.begin(), lengths.end(), low);
    const auto end = std::lower_bound(lengths.begin(), lengths.end(), low + width);
    result.histogram.push_back({low, low + width, end - begin});
  }
  return result;
}

std::vector<std::string> histogram_lines(const LengthStatistics& statistics) {
  int64_t largest = 1;
  for (const auto& bucket : statistics.histogram) largest = std::max(largest, bucket.count);
  std::vector<std::string> lines;
  for (const auto& bucket : statistics.histogram) {
    const auto padded = [](const std::string& text, size_t width) { return std::string(width > text.size() ? width - text.size() : 0, ' ') + text; };
    lines.push_back(str(padded(str(bucket.low), 7), " - ", padded(str(bucket.high - 1), 5), padded(with_thousands(bucket.count), 10), "  ",
                        std::string(static_cast<size_t>(bucket.count * 40 / largest), '#')));
  }
  return lines;
}

}  // namespace mpeft::data
