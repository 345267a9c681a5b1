#include "app/evaluate_split.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/classify.h"
#include "mpeft/eval/evaluator.h"
#include "mpeft/metrics/pair_metric.h"
#include "mpeft/train/interrupt.h"
#include "mpeft/train/progress.h"

#include "app/experiment_data.h"

namespace mpeft::app {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Without an InterruptGuard nobody asks for it.
void stop_if_asked() {
  if (train::InterruptGuard::requested()) throw Interrupted("interrupted during an evaluation");
}

}  // namespace

SplitEvaluation evaluate_split(model::MambaLM& model, const text::Tokenizer& tokenizer,
                               const data::TokenizedDataset& tokens, const config::ExperimentConfig& config) {
  train::Progress progress("eval", static_cast<int64_t>(tokens.examples.size()));
  if (!tokens.classes.empty()) {
    const eval::ClassifyOptions options{.batch_size = config.eval_batch_size};
    auto result = eval::evaluate_classes(model, tokenizer, tokens.examples, tokens.classes, tokens.metrics, options,
                                         [&](int64_t done, int64_t) {
                                           stop_if_asked();
                                           progress.update(done, "");
                                         });
    progress.clear();
    return {std::move(result.scores), std::move(result.predictions)};
  }
  const auto options = generate_options(config, tokenizer, model->config().vocab_size);
  auto result = eval::evaluate_generation(
      model, tokenizer, tokens.examples, tokens.metrics, options,
      [&](int64_t done, int64_t, int64_t n_tokens) {
        stop_if_asked();
        progress.update(done, mpeft::str(with_thousands(n_tokens), " tokens"));
      },
      tokens.databases);
  progress.clear();
  return {std::move(result.scores), std::move(result.predictions)};
}

bool has_evaluation(const config::ExperimentConfig& config, const data::TextDataset& dataset) {
  return !config.skip_eval && !dataset.metrics.empty() && (config.generate || !dataset.classes.empty());
}

void check_evaluation(const data::TextDataset& dataset, const text::Tokenizer& tokenizer, bool evaluates) {
  if (!dataset.classes.empty()) {
    eval::check_class_metrics(dataset.metrics, dataset.classes);
    eval::class_tokens(tokenizer, dataset.classes);
    return;
  }
  for (const auto& name : dataset.metrics) {
    if (evaluates || !contains(metrics::metric_names(), name)) eval::check_metric_name(name, dataset.databases);
  }
}

void check_references(const data::TokenizedDataset& tokens) {
  if (tokens.classes.empty()) eval::check_references(tokens.metrics, tokens.examples);
}

std::string main_score(const std::string& metric) {
  if (!contains(metrics::metric_names(), metric)) return metric;
  if (metrics::needs_databases(metric)) return metric == "spider" ? "execution" : metric;
  try {
    const auto scores = metrics::make_metric(metric)->score_one({"a", {"a"}});
    return scores.empty() || scores.contains(metric) ? metric : scores.begin()->first;
  } catch (const Error&) {  // it needs more than two texts
    return metric;
  }
}

}  // namespace mpeft::app
