#pragma once

#include <string>
#include <vector>

#include "mpeft/data/example.h"
#include "mpeft/eval/generate.h"
#include "mpeft/eval/predictions.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::eval {

/// What evaluation by generation found.
struct GenerationEvaluation {
  metrics::Scores scores;               ///< of all metrics together
  std::vector<Prediction> predictions;  ///< in the order of the examples
  int64_t n_tokens = 0;                 ///< generated
  double seconds = 0.0;                 ///< generating, metrics not counted
};

/// Continues the prompt of each example (its first prompt_length ids) and scores the texts: decoded without special
/// tokens, without white space at either end. Unless `options` says otherwise, the tokenizer's end token ends a text
/// and ids that the tokenizer does not know are never chosen. Throws what generate, the metrics and make_metric throw;
/// DataError for no examples.
GenerationEvaluation evaluate_generation(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                         const std::vector<data::Example>& examples,
                                         const std::vector<std::string>& metric_names, GenerateOptions options,
                                         const GenerateProgress& progress = {});

/// Scores predictions that are there already (`mpeft eval --predictions`). Throws as make_metric and Metric::score.
metrics::Scores score_predictions(const std::vector<Prediction>& predictions,
                                  const std::vector<std::string>& metric_names);

/// Loss over labelled tokens.
struct LossEvaluation {
  double loss = 0.0;          ///< mean over all labelled tokens of all batches, in nats
  double perplexity = 1.0;    ///< exp(loss)
  double token_accuracy = 0;  ///< share of labelled tokens that are the likeliest
  int64_t n_labels = 0;
};

/// Mean cross-entropy of the labelled tokens, in fp32, without gradients and dropout. The logits are computed at
/// labelled positions only. Throws DataError when no token is labelled.
LossEvaluation evaluate_loss(model::MambaLM& model, const std::vector<data::Batch>& batches);

}  // namespace mpeft::eval
