#include "mpeft/eval/evaluator.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/pair_metric.h"

#include "eval/pair_scores.h"

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

bool is_pair_metric(const std::string& name) {
  const auto names = metrics::pair_metric_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The metrics that names ask for, made before anything is computed.
class Scorer {
 public:
  Scorer(const std::vector<std::string>& names, const std::filesystem::path& databases) {
    for (const auto& name : names) {
      if (is_pair_metric(name)) {
        of_pairs_.push_back(name);
      } else {
        of_texts_.push_back(make_text_metric(name, databases));
      }
    }
  }

  metrics::Scores score(const std::vector<Prediction>& predictions) const {
    metrics::Scores scores = score_pairs(predictions, of_pairs_);
    if (of_texts_.empty()) return scores;
    const auto records = to_records(predictions);
    for (const auto& metric : of_texts_) scores.merge(metric->score(records));
    return scores;
  }

  static std::unique_ptr<metrics::Metric> make_text_metric(const std::string& name,
                                                           const std::filesystem::path& databases) {
    auto known = metrics::metric_names();
    if (std::find(known.begin(), known.end(), name) != known.end()) return metrics::make_metric(name, databases);
    const auto pairs = metrics::pair_metric_names();
    known.insert(known.end(), pairs.begin(), pairs.end());
    std::sort(known.begin(), known.end());
    throw ConfigError(
        str("unknown metric '", name, "'", did_you_mean(name, known), "; there are: ", join(known, ", ")));
  }

 private:
  std::vector<std::unique_ptr<metrics::Metric>> of_texts_;
  std::vector<std::string> of_pairs_;
};

// "prediction 3: …" where nothing was predicted yet.
std::string in_examples(const std::string& message) {
  constexpr std::string_view kPrediction = "prediction ";
  return message.starts_with(kPrediction) ? "example " + message.substr(kPrediction.size()) : message;
}

std::string remedy(const std::string& metric, const std::set<std::string>& references) {
  constexpr size_t kFew = 10;
  std::string text = "\n  texts are for bleu, rouge and meteor";
  if (!metrics::make_pair_metric(metric)->takes_classes() || references.size() < 2 || references.size() > kFew)
    return text;
  return text + "; labels of which each is one token are classes: data_options.classes: [" +
         join({references.begin(), references.end()}, ", ") + "]";
}

}  // namespace

GenerationEvaluation evaluate_generation(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                         const std::vector<data::Example>& examples,
                                         const std::vector<std::string>& metric_names, GenerateOptions options,
                                         const GenerateProgress& progress, const std::filesystem::path& databases) {
  if (examples.empty()) throw DataError("evaluation: the split has no examples");
  // A metric that cannot be made (a missing resource) is told before minutes of generation, not after.
  const Scorer scorer(metric_names, databases);
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
    result.predictions.back().db_id = examples[i].db_id;
  }
  result.scores = scorer.score(result.predictions);
  return result;
}

metrics::Scores score_predictions(const std::vector<Prediction>& predictions,
                                  const std::vector<std::string>& metric_names,
                                  const std::filesystem::path& databases) {
  return Scorer(metric_names, databases).score(predictions);
}

void check_metric_name(const std::string& name, const std::filesystem::path& databases) {
  if (!is_pair_metric(name)) Scorer::make_text_metric(name, databases);
}

void check_references(const std::vector<std::string>& metric_names, const std::vector<data::Example>& examples) {
  std::vector<Prediction> right(examples.size());  // what a model that is always right would predict
  std::set<std::string> distinct;
  for (size_t i = 0; i < examples.size(); ++i) {
    right[i].references = examples[i].references;
    if (right[i].references.empty()) continue;
    right[i].prediction = right[i].references.front();
    distinct.insert(right[i].prediction);
  }
  for (const auto& name : metric_names) {
    if (!is_pair_metric(name)) continue;
    try {
      score_pairs(right, {name});
    } catch (const DataError& e) {
      const bool is_text = std::string_view(e.what()).find("is no number") != std::string_view::npos;
      throw ConfigError(str("metrics: ", name, " cannot score the data: ", in_examples(e.what()),
                            is_text ? remedy(name, distinct) : ""));
    }
  }
}

}  // namespace mpeft::eval
