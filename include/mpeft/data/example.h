#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "mpeft/text/tokenizer.h"

namespace mpeft::data {

/// A label of this value carries no loss (the value that cross entropy ignores).
inline constexpr int64_t kIgnoreLabel = -100;

/// What a data set yields, before the tokenizer: the model reads `input` (instruction, separators and fields as the
/// template laid them out) and is to write `target`.
struct TextExample {
  std::vector<std::string> input_parts;  ///< instruction and input, tokenised one by one and concatenated
  std::string target;                    ///< the label text; without the end token
  std::vector<std::string> references;   ///< all texts that count as right; at least `target`
  int64_t record = 0;                    ///< index in the source file
  std::string group = {};                ///< part of the split that is also scored alone ("matched"); "" for none
  std::string db_id = {};                ///< Spider: the database that the query is for
};

/// A tokenised example. ids = prompt + target (+ end token).
struct Example {
  std::vector<text::TokenId> ids;
  int64_t prompt_length = 0;            ///< the first prompt_length ids carry no loss
  std::vector<std::string> references;  ///< for evaluation; empty where TokenizeOptions says so
  int64_t record = 0;                   ///< index in the source file, for messages and predictions
  std::string group = {};               ///< part of the split that is also scored alone; "" for none
  std::string db_id = {};               ///< Spider: the database that the query is for
};

/// Examples padded on the right to one length, row-major.
struct Batch {
  int64_t rows = 0;
  int64_t seqlen = 0;
  std::vector<int64_t> ids;      ///< (rows, seqlen); padding holds the end token's id
  std::vector<int64_t> labels;   ///< (rows, seqlen); labels[i][t] is the token after ids[i][t], or kIgnoreLabel
  std::vector<int64_t> lengths;  ///< (rows): tokens that are not padding
  int64_t n_tokens() const;      ///< sum of lengths
  int64_t n_labels() const;      ///< labels that carry loss
};

}  // namespace mpeft::data
