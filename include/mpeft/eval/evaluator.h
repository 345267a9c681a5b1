#pragma once

#include <filesystem>
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
/// and ids that the tokenizer does not know are never chosen. `databases` is for metrics that run queries
/// (make_metric). Throws what generate, the metrics and make_metric throw; DataError for no examples.
GenerationEvaluation evaluate_generation(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                         const std::vector<data::Example>& examples,
                                         const std::vector<std::string>& metric_names, GenerateOptions options,
                                         const GenerateProgress& progress = {},
                                         const std::filesystem::path& databases = {});

/// Scores predictions that are there already (`mpeft eval --predictions`, `mpeft score`).
///
/// Metrics of texts compare the prediction with the references. Metrics of classes or numbers (accuracy, f1, matthews,
/// pearson, spearman) need one reference, a number or a class. Where predictions have class_scores, the classes are
/// their keys, numbered in order, and each metric M of classes gives
///   M            the likeliest token of the vocabulary; one that is no class counts as wrong
///   M_reference  the same over the predictions that are classes alone (NaN when there are none)
///   M_choices    the likeliest of the classes
/// and, once, out_of_class: the share of predictions that are no class. Without class_scores classes are integers spelt
/// out. A prediction that should be a number or an integer and is none counts as the smallest reference less one: wrong
/// for metrics of classes, the least value for pearson and spearman (of STS-B, which begins at 0, the -1 that T5's
/// evaluation takes for it). A warning says how many are no number. Where predictions have groups, all of it again for
/// each group, "_<group>" behind the name.
///
/// Throws as make_metric, Metric::score and PairMetric::score; DataError naming the prediction from 1: several
/// references, a reference that is no class or number (never for what was predicted), class scores of other classes
/// than the first one's.
metrics::Scores score_predictions(const std::vector<Prediction>& predictions,
                                  const std::vector<std::string>& metric_names,
                                  const std::filesystem::path& databases = {});

/// Throws ConfigError, before anything is run, for a metric of numbers or of classes spelt out that cannot score the
/// references of `examples`, and says what to do.
void check_references(const std::vector<std::string>& metric_names, const std::vector<data::Example>& examples);

/// Throws ConfigError for a name that is neither a metric of texts nor one of classes or numbers, and DataError when
/// what it needs (WordNet) is absent.
void check_metric_name(const std::string& name, const std::filesystem::path& databases = {});

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
