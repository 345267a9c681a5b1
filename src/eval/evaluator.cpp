#include "mpeft/eval/evaluator.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {
namespace {

std::vector<std::vector<text::TokenId>> prompts_of(const std::vector<data::Example>& examples) {
  std::vector<std::vector<text::TokenId>> prompts;
  prompts.reserve(examples.size());
  for (const auto& example : examples) {
    prompts.emplace_back(example.ids.begin(), example.ids.begin() + example.prompt_length);
  }
  return prompts;
}

std::vector<std::unique_ptr<metrics::Metric>> make_metrics(const std::vector<std::string>& names) {
  std::vector<std::unique_ptr<metrics::Metric>> made;
  for (const auto& name : names) made.push_back(metrics::make_metric(name));
  return made;
}

metrics::Scores score_all(const std::vector<Prediction>& predictions,
                          const std::vector<std::unique_ptr<metrics::Metric>>& made) {
  const auto records = to_records(predictions);
  metrics::Scores scores;
  for (const auto& metric : made) scores.merge(metric->score(records));
  return scores;
}

}  // namespace

GenerationEvaluation evaluate_generation(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                         const std::vector<data::Example>& examples,
                                         const std::vector<std::string>& metric_names, GenerateOptions options,
                                         const GenerateProgress& progress) {
  if (examples.empty()) throw DataError("evaluation: the split has no examples");
  // A metric that cannot be made (a missing resource) is told before minutes of generation, not after.
  const auto made = make_metrics(metric_names);
  if (!options.eos_id) options.eos_id = tokenizer.eos_id();
  if (options.n_valid_tokens == 0)
    options.n_valid_tokens = std::min(tokenizer.vocab_size(), model->config().vocab_size);

  GenerationEvaluation result;
  const auto prompts = prompts_of(examples);
  const auto start = std::chrono::steady_clock::now();
  const auto generations = generate(model, prompts, options, progress);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  for (size_t i = 0; i < examples.size(); ++i) {
    result.n_tokens += static_cast<int64_t>(generations[i].ids.size());
    const std::string text = tokenizer.decode(generations[i].ids, /*skip_special=*/true);
    result.predictions.push_back({examples[i].record, tokenizer.decode(prompts[i], /*skip_special=*/false),
                                  std::string(trim(text)), examples[i].references});
  }
  result.scores = score_all(result.predictions, made);
  return result;
}

metrics::Scores score_predictions(const std::vector<Prediction>& predictions,
                                  const std::vector<std::string>& metric_names) {
  return score_all(predictions, make_metrics(metric_names));
}

}  // namespace mpeft::eval
