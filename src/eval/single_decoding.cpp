#include "eval/single_decoding.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>

#include "mpeft/core/random.h"

#include "eval/next_token_logits.h"

namespace mpeft::eval {
namespace {

/// A row of the batch. Finished rows stay until enough of them are there to make moving the others worth it.
struct Row {
  int64_t prompt;
  Random random;
  bool is_finished = false;
};

/// One number in [0, 1) for each row, (rows) fp64 on `device`.
at::Tensor draw(std::vector<Row>& rows, at::Device device) {
  at::Tensor numbers = at::empty({static_cast<int64_t>(rows.size())}, at::kDouble);
  for (size_t i = 0; i < rows.size(); ++i) {
    numbers.mutable_data_ptr<double>()[i] = rows[i].is_finished ? 0.0 : rows[i].random.uniform();
  }
  return numbers.to(device);
}

/// The token at which the cumulated probability passes `numbers`: (rows, vocab), (rows) -> (rows) int64. In fp64, so
/// that the sums of 50,000 probabilities do not depend on their order.
at::Tensor invert_cumulative(const at::Tensor& logits, const at::Tensor& numbers) {
  const at::Tensor cumulative = at::cumsum(at::softmax(logits.to(at::kDouble), -1), -1);  // (rows, vocab)
  const at::Tensor total = cumulative.narrow(-1, cumulative.size(-1) - 1, 1);             // (rows, 1)
  const at::Tensor chosen = (cumulative <= numbers.unsqueeze(1) * total).sum(-1);         // (rows)
  // A product that rounds up to the total would pass the last token that has any probability.
  return at::minimum(chosen, (cumulative < total).sum(-1));
}

/// Drops the finished rows when they are a quarter of the batch: below that, copying the states costs more than it
/// saves.
void compact(std::vector<Row>& rows, DecodeState& state, at::Tensor& tokens) {
  std::vector<int64_t> keep;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].is_finished) keep.push_back(static_cast<int64_t>(i));
  }
  if ((rows.size() - keep.size()) * 4 < rows.size()) return;
  const at::Tensor index = to_tensor(keep, tokens.device());
  select_rows(state, index);
  tokens = at::index_select(tokens, 0, index);
  std::erase_if(rows, [](const Row& row) { return row.is_finished; });
}

}  // namespace

void decode_single(model::MambaLM& model, const std::vector<IdList>& prompts, const std::vector<int64_t>& prompt_rows,
                   const GenerateOptions& options, DecodeSessions& sessions, DecodeProgress& progress,
                   std::vector<Generation>& results) {
  std::vector<Row> rows;
  for (const int64_t prompt : prompt_rows) {
    rows.push_back({prompt, Random(derive_seed(options.seed, "sampling", static_cast<uint64_t>(prompt)))});
  }
  auto n_running = static_cast<int64_t>(rows.size());
  DecodeState state = read_prompts(model, prompts, prompt_rows);

  for (int64_t n_made = 0;; ++n_made) {
    at::Tensor logits = next_token_logits(model, state);     // (rows, vocab_size)
    const at::Tensor log_total = at::logsumexp(logits, -1);  // (rows): before masking, the model's own distribution
    mask_forbidden(logits, options, n_made);
    at::Tensor tokens = options.do_sample
                            ? invert_cumulative(filter_logits(logits, options.filter), draw(rows, logits.device()))
                            : at::argmax(logits, -1);                                            // (rows)
    const at::Tensor log_probs = logits.gather(-1, tokens.unsqueeze(1)).squeeze(1) - log_total;  // (rows)

    // The step's one transfer to the host. fp64 holds ids exactly.
    const at::Tensor chosen = at::stack({tokens.to(at::kDouble), log_probs.to(at::kDouble)}).to(at::kCPU);  // (2, rows)
    const double* values = chosen.const_data_ptr<double>();
    int64_t n_finished = 0;
    const int64_t n_tokens = n_running;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].is_finished) continue;
      auto& result = results[rows[i].prompt];
      const auto token = static_cast<text::TokenId>(values[i]);
      result.ids.push_back(token);
      result.score += values[rows.size() + i];
      if ((options.eos_id && token == *options.eos_id) || n_made + 1 == options.max_new_tokens) {
        result.score /= static_cast<double>(result.ids.size());
        rows[i].is_finished = true;
        ++n_finished;
      }
    }
    n_running -= n_finished;
    progress.add(n_finished, n_tokens);
    if (n_running == 0) return;
    compact(rows, state, tokens);
    advance(model, state, tokens, sessions);
  }
}

}  // namespace mpeft::eval
