#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "mpeft/data/example.h"
#include "mpeft/eval/predictions.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::eval {

/// How prompts are classified.
struct ClassifyOptions {
  int64_t batch_size = 0;      ///< prompts read together; 0: as many as have 65,536 tokens with their padding
  int64_t n_valid_tokens = 0;  ///< ids from here on (rows that pad the embedding) are never chosen; 0: all may be
};

/// What a model would write behind one prompt.
struct ClassScores {
  text::TokenId best_id = 0;      ///< the likeliest token of the whole vocabulary; of equal ones the smallest id
  std::vector<double> log_probs;  ///< of each class's token, among the whole vocabulary
};

/// Called after each batch.
using ClassifyProgress = std::function<void(int64_t n_done, int64_t n_prompts)>;

/// Reads each prompt once and scores the token behind it. The arg-max and the log-probabilities (fp32) are taken on the
/// model's device: what the host gets is one id and n_classes numbers a prompt, once at the end. Prompts are
/// right-padded and padding is masked by length: a result depends on its prompt alone, but for the rounding of GEMMs of
/// another number of rows. Dropout is off. Throws DataError for an empty prompt or an id outside the vocabulary, naming
/// the prompt; ConfigError for a batch_size below 0.
std::vector<ClassScores> score_classes(model::MambaLM& model, const std::vector<std::vector<text::TokenId>>& prompts,
                                       const std::vector<text::TokenId>& class_ids, const ClassifyOptions& options,
                                       const ClassifyProgress& progress = {});

/// The token of each class. Throws ConfigError naming a class that is not exactly one token of its own.
std::vector<text::TokenId> class_tokens(const text::Tokenizer& tokenizer, const std::vector<std::string>& classes);

/// What evaluation by class scores found.
struct ClassEvaluation {
  metrics::Scores scores;               ///< see score_predictions
  std::vector<Prediction> predictions;  ///< in the order of the examples, with class_scores
  double seconds = 0.0;                 ///< reading the prompts, metrics not counted
};

/// Scores the token behind the prompt of each example (its first prompt_length ids). A prediction is the text of the
/// likeliest token of the whole vocabulary, be it a class or not. `metric_names` are of metrics of classes (accuracy,
/// f1, matthews). Throws what score_classes, class_tokens and score_predictions throw; DataError for no examples.
ClassEvaluation evaluate_classes(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                 const std::vector<data::Example>& examples, const std::vector<std::string>& classes,
                                 const std::vector<std::string>& metric_names, ClassifyOptions options,
                                 const ClassifyProgress& progress = {});

/// Throws ConfigError, before anything is run, for a metric that cannot score `classes`: a metric of texts, an unknown
/// one, or f1 of more than two.
void check_class_metrics(const std::vector<std::string>& metric_names, const std::vector<std::string>& classes);

}  // namespace mpeft::eval
