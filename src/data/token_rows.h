#pragma once

#include <string>
#include <vector>

#include "mpeft/data/dataset.h"

namespace mpeft::data {

/// One row of a tokenised data set before it is tokenised: which example, which of its texts is the target.
struct RowSource {
  size_t example;
  const std::string* target;  ///< a text of the data set, which must outlive the row
};

/// Ids of a row: prompt, target, end token.
struct TokenRow {
  std::vector<text::TokenId> ids;
  int64_t prompt_length = 0;
};

/// Training has a row for each reference text, evaluation one for each example.
std::vector<RowSource> rows_of(const TextDataset& dataset, bool for_training);

/// Tokenises on `n_threads` threads (0: one per core); the result does not depend on their number.
std::vector<TokenRow> encode_rows(const TextDataset& dataset, const std::vector<RowSource>& rows,
                                  const text::Tokenizer& tokenizer, int64_t n_threads);

/// The rows within the limit, with what their examples carry along.
TokenizedDataset assemble(const TextDataset& dataset, const std::vector<RowSource>& sources,
                          std::vector<TokenRow>&& rows, const TokenizeOptions& options);

}  // namespace mpeft::data
