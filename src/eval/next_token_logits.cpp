#include "eval/next_token_logits.h"

#include <limits>

#include <ATen/ops/arange.h>

namespace mpeft::eval {

DecodeState read_prompts(model::MambaLM& model, const std::vector<IdList>& prompts, const std::vector<int64_t>& rows) {
  const auto batch = pad_ids(prompts, rows, model->device());
  DecodeState state;
  const at::Tensor hidden = model->forward_hidden(batch.ids, batch.lengths, &state.cache);  // (rows, seqlen, d_model)
  const at::Tensor row = at::arange(hidden.size(0), batch.ids.options());
  // Only the last token of each prompt has a successor to choose: the head sees nothing else.
  state.hidden = hidden.index({row, batch.lengths.to(at::kLong) - 1});  // (rows, d_model)
  return state;
}

void advance(model::MambaLM& model, DecodeState& state, const at::Tensor& tokens) {
  state.hidden = model->forward_hidden(tokens.unsqueeze(1), {}, &state.cache).squeeze(1);
}

at::Tensor next_token_logits(model::MambaLM& model, const DecodeState& state) {
  return model->forward_head(state.hidden).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
}

void mask_forbidden(at::Tensor& scores, const GenerateOptions& options, int64_t n_made) {
  constexpr double kNever = -std::numeric_limits<double>::infinity();
  const int64_t vocab_size = scores.size(-1);
  if (options.n_valid_tokens > 0 && options.n_valid_tokens < vocab_size) {
    scores.narrow(-1, options.n_valid_tokens, vocab_size - options.n_valid_tokens).fill_(kNever);
  }
  if (options.eos_id && n_made < options.min_new_tokens) scores.select(-1, *options.eos_id).fill_(kNever);
}

}  // namespace mpeft::eval
