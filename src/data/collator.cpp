#include "mpeft/data/collator.h"

#include <algorithm>
#include <numeric>

#include "mpeft/core/check.h"

namespace mpeft::data {

int64_t Batch::n_tokens() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }

int64_t Batch::n_labels() const {
  return std::count_if(labels.begin(), labels.end(), [](int64_t label) { return label != kIgnoreLabel; });
}

Batch collate(const std::vector<const Example*>& rows, text::TokenId pad_id) {
  MPEFT_ASSERT(!rows.empty(), "a batch of no rows");
  Batch batch;
  batch.rows = static_cast<int64_t>(rows.size());
  for (const Example* row : rows) {
    MPEFT_ASSERT(!row->ids.empty(), "an example without tokens");
    batch.lengths.push_back(static_cast<int64_t>(row->ids.size()));
    batch.seqlen = std::max(batch.seqlen, batch.lengths.back());
  }
  const auto seqlen = static_cast<size_t>(batch.seqlen);
  batch.ids.assign(rows.size() * seqlen, pad_id);
  batch.labels.assign(rows.size() * seqlen, kIgnoreLabel);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& ids = rows[i]->ids;
    std::copy(ids.begin(), ids.end(), batch.ids.begin() + static_cast<std::ptrdiff_t>(i * seqlen));
    // Token t + 1 is learned at position t, so a target that starts the text has no position for its first token.
    const auto first = static_cast<size_t>(std::max<int64_t>(rows[i]->prompt_length, 1));
    for (size_t next = first; next < ids.size(); ++next) batch.labels[i * seqlen + next - 1] = ids[next];
  }
  return batch;
}

}  // namespace mpeft::data
