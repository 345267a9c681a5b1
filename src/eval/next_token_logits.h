#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/eval/generate.h"
#include "mpeft/model/mamba_lm.h"

#include "eval/decode_session.h"
#include "eval/padded_ids.h"

namespace mpeft::eval {

/// A batch of texts that are being continued: the model's state after each, and the hidden state that the next token
/// follows from.
struct DecodeState {
  model::InferenceCache cache;
  at::Tensor hidden;  ///< (rows, d_model), after norm_f, of the last token of each row

  // With a session, from the first advance on, these instead:
  DecodeSession* session = nullptr;
  at::Tensor logits;                  ///< (rows, vocab_size) fp32, of the session
  std::optional<at::Tensor> parents;  ///< (rows): what select_rows chose, for the next advance
};

/// Reads the prompts that `rows` names, all at once.
DecodeState read_prompts(model::MambaLM& model, const std::vector<IdList>& prompts, const std::vector<int64_t>& rows);

/// Keeps the rows `index` (n) int64, in that order, repeats allowed. advance comes next.
void select_rows(DecodeState& state, const at::Tensor& index);

/// Advances each row by a token, in a session of `sessions` where one suits the model. tokens (rows) int64.
void advance(model::MambaLM& model, DecodeState& state, const at::Tensor& tokens, DecodeSessions& sessions);

/// Logits of the next token, fp32 (rows, vocab_size), which the caller may write into; valid until the next advance.
at::Tensor next_token_logits(model::MambaLM& model, const DecodeState& state);

/// Writes -inf where a token may not be chosen: padding of the vocabulary, and the end token while fewer than
/// min_new_tokens are there. scores (rows, vocab_size); `n_made`: new tokens so far.
void mask_forbidden(at::Tensor& scores, const GenerateOptions& options, int64_t n_made);

}  // namespace mpeft::eval
