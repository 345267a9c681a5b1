#pragma once

#include <string>
#include <vector>

#include "mpeft/config/experiment.h"
#include "mpeft/data/dataset.h"
#include "mpeft/eval/predictions.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::app {

/// What evaluating a split found.
struct SplitEvaluation {
  metrics::Scores scores;
  std::vector<eval::Prediction> predictions;
};

/// Evaluates tokenised examples as their data set asks: by class scores where labels are classes, by generation
/// otherwise. Shows progress. Throws Interrupted when a train::InterruptGuard lives and a signal has come.
SplitEvaluation evaluate_split(model::MambaLM& model, const text::Tokenizer& tokenizer,
                               const data::TokenizedDataset& tokens, const config::ExperimentConfig& config);

/// True when the experiment evaluates while it trains: not with skip_eval, nor without metrics, nor for texts when
/// `eval_gen` is null.
bool has_evaluation(const config::ExperimentConfig& config, const data::TextDataset& dataset);

/// Finds before the training what would fail after it: an unknown metric, one that does not go with the data set, a
/// class that is not one token, and what a metric needs (WordNet) where it will be computed. Throws ConfigError or
/// DataError.
void check_evaluation(const data::TextDataset& dataset, const text::Tokenizer& tokenizer, bool evaluates);

/// As check_evaluation, of the examples that will be scored: metrics of numbers or classes for which their references
/// are none. Throws ConfigError.
void check_references(const data::TokenizedDataset& tokens);

/// The score by which a metric is ranked: of "rouge", which has four, "rouge1".
std::string main_score(const std::string& metric);

}  // namespace mpeft::app
