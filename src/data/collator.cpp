#include "mpeft/data/collator.h"

#include <algorithm>
#include <numeric>

namespace mpeft::data {

int64_t Batch::n_tokens() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }

int64_t Batch::n_labels() const {
  return std::count_if(labels.begin(), labels.end(), [](int64_t label) { return label != kIgnoreLabel; });
}

Batch collate(const std::vector<const Example*>& examples, text::TokenId pad_id) {
  Batch batch;
  batch.rows = static_cast<int64_t>(examples.size());
  for (const auto* example : examples) batch.seqlen = std::max(batch.seqlen, static_cast<int64_t>(example->ids.size()));
  const auto n = static_cast<size_t>(batch.rows * batch.seqlen);
  batch.ids.assign(n, pad_id);
  batch.labels.assign(n, kIgnoreLabel);
  for (size_t row = 0; row < examples.size(); ++row) {
    const auto& ids = examples[row]->ids;
    const size_t begin = row * static_cast<size_t>(batch.seqlen);
    batch.lengths.push_back(static_cast<int64_t>(ids.size()));
    std::copy(ids.begin(), ids.end(), batch.ids.begin() + static_cast<int64_t>(begin));
    for (auto t = static_cast<size_t>(std::max<int64_t>(examples[row]->prompt_length, 1)); t < ids.size(); ++t) {
      batch.labels[begin + t - 1] = ids[t];
    }
  }
  return batch;
}

}  // namespace mpeft::data
