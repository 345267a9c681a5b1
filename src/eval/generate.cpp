#include "mpeft/eval/generate.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "eval/beam_search.h"
#include "eval/eval_mode.h"
#include "eval/single_decoding.h"

namespace mpeft::eval {

void validate(const GenerateOptions& options, int64_t vocab_size) {
  std::vector<std::string> problems;
  const auto check = [&](bool ok, const std::string& message) {
    if (!ok) problems.push_back(message);
  };
  check(options.max_new_tokens >= 1, str("max_new_tokens: expected at least 1, got ", options.max_new_tokens));
  check(
      options.min_new_tokens >= 0 && options.min_new_tokens <= options.max_new_tokens,
      str("min_new_tokens: expected 0 to max_new_tokens (", options.max_new_tokens, "), got ", options.min_new_tokens));
  check(options.num_beams >= 1, str("num_beams: expected at least 1, got ", options.num_beams));
  check(options.batch_size >= 1, str("batch_size: expected at least 1, got ", options.batch_size));
  check(options.n_valid_tokens >= 0, str("n_valid_tokens: expected 0 (all) or more, got ", options.n_valid_tokens));
  check(!(options.do_sample && options.num_beams > 1),
        str("num_beams: ", options.num_beams,
            " beams cannot be sampled; use num_beams 1, or leave do_sample, top_k, top_p and ", "temperature out"));
  check(!options.eos_id || (*options.eos_id >= 0 && *options.eos_id < vocab_size),
        str("eos_id: ", options.eos_id.value_or(0), " is outside the model's vocabulary of ", vocab_size));
  // At every step 2 num_beams candidates are needed, num_beams of which go on.
  const int64_t n_choices = options.n_valid_tokens > 0 ? std::min(options.n_valid_tokens, vocab_size) : vocab_size;
  check(options.num_beams == 1 || 2 * options.num_beams < n_choices,
        str("num_beams: ", options.num_beams, " is too many for a vocabulary of ", n_choices));
  if (options.do_sample) {
    try {
      validate(options.filter);
    } catch (const ConfigError& e) {
      problems.emplace_back(e.what());
    }
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
}

std::vector<Generation> generate(model::MambaLM& model, const std::vector<IdList>& prompts,
                                 const GenerateOptions& options, const GenerateProgress& progress) {
  validate(options, model->config().vocab_size);
  check_ids(prompts, model->config().vocab_size, "prompt");
  const EvalMode eval_mode(model);
  DecodeSessions sessions(model);
  DecodeProgress counter(progress, static_cast<int64_t>(prompts.size()));
  std::vector<Generation> results(prompts.size());
  const auto order = order_by_length(prompts);
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(options.batch_size)) {
    const size_t end = std::min(begin + static_cast<size_t>(options.batch_size), order.size());
    const std::vector<int64_t> rows(order.begin() + static_cast<int64_t>(begin),
                                    order.begin() + static_cast<int64_t>(end));
    const auto decode = options.num_beams > 1 ? decode_beams : decode_single;
    decode(model, prompts, rows, options, sessions, counter, results);
  }
  return results;
}

}  // namespace mpeft::eval
