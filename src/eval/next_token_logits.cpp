#include "eval/next_token_logits.h"

#include <limits>

#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>

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

void select_rows(DecodeState& state, const at::Tensor& index) {
  if (state.session == nullptr) {
    state.cache.select_rows(index);
  } else {
    state.parents = state.parents ? at::index_select(*state.parents, 0, index) : index;
  }
}

void advance(model::MambaLM& model, DecodeState& state, const at::Tensor& tokens, DecodeSessions& sessions) {
  const int64_t n = tokens.size(0);
  if (state.session != nullptr && 2 * n < state.session->capacity()) {
    // Half of the work would be nobody's: on to a smaller one.
    state.cache = state.session->rows(state.parents ? *state.parents : at::arange(n, tokens.options()));
    state.session = nullptr;
    state.parents.reset();
  }
  if (state.session == nullptr) {
    state.session = sessions.acquire(n);
    if (state.session != nullptr) {
      state.session->load(state.cache);
      state.cache = {};
      state.hidden = at::Tensor();
    }
  }
  if (state.session != nullptr) {
    state.logits = state.session->step(tokens, state.parents);
    state.parents.reset();
    return;
  }
  state.hidden = model->forward_hidden(tokens.unsqueeze(1), {}, &state.cache).squeeze(1);
}

at::Tensor next_token_logits(model::MambaLM& model, const DecodeState& state) {
  if (state.logits.defined()) return state.logits;
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
