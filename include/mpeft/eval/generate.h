#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "mpeft/eval/token_filter.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::eval {

/// How texts are continued. Greedy by default; sampling with `do_sample`; beam search with `num_beams` > 1.
struct GenerateOptions {
  int64_t max_new_tokens = 128;
  int64_t min_new_tokens = 0;  ///< the end token cannot be chosen before so many other tokens were
  int64_t num_beams = 1;
  bool do_sample = false;       ///< draw from the filtered distribution instead of taking the likeliest
  TokenFilter filter;           ///< for do_sample
  uint64_t seed = 42;           ///< for do_sample; prompt i draws its own numbers, whatever the batch
  double length_penalty = 1.0;  ///< a beam's score is its log-probability over length^length_penalty
  bool early_stopping = false;  ///< false: go on while a running beam may still become better than the worst finished
                                ///< one; true: stop at num_beams finished ones
  std::optional<text::TokenId> eos_id;  ///< ends a text; absent: every text gets max_new_tokens
  int64_t n_valid_tokens = 0;  ///< ids from here on (rows that pad the embedding) are never chosen; 0: all may be
  int64_t batch_size = 16;     ///< prompts decoded together
};

/// A continuation of one prompt.
struct Generation {
  std::vector<text::TokenId> ids;  ///< the new tokens, the end token included when it was reached
  double score = 0.0;  ///< sum of the tokens' log-probabilities (of the model, unfiltered) over ids.size(), or over
                       ///< ids.size()^length_penalty for beam search, as Hugging Face's `sequences_scores`
};

/// Called after each step with the prompts that are finished, their number, and the tokens made so far.
using GenerateProgress = std::function<void(int64_t n_done, int64_t n_prompts, int64_t n_tokens)>;

/// Throws ConfigError listing every impossible or contradictory value. `vocab_size`: rows of the model's embedding.
void validate(const GenerateOptions& options, int64_t vocab_size);

/// Continues each prompt. Prompts are read once, batched and right-padded (padding is masked by length); then all rows
/// advance a token at a time from their recurrent state, and rows that are finished leave the batch. Each prompt's
/// result depends on nothing but the prompt, its index (sampling) and the options; a GEMM library may round differently
/// for another number of rows, so that two tokens within that rounding of each other can swap when batch_size changes.
///
/// Runs on the model's device; the host sees one small transfer a step. Log-probabilities are fp32. Dropout is off
/// while it runs. Throws ConfigError (options), DataError for an empty prompt or an id outside the vocabulary, naming
/// the prompt.
std::vector<Generation> generate(model::MambaLM& model, const std::vector<std::vector<text::TokenId>>& prompts,
                                 const GenerateOptions& options, const GenerateProgress& progress = {});

}  // namespace mpeft::eval
