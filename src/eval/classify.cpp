#include "mpeft/eval/classify.h"

#include <algorithm>
#include <chrono>

#include <ATen/ops/arange.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/logsumexp.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/evaluator.h"
#include "mpeft/metrics/pair_metric.h"

#include "eval/eval_mode.h"
#include "eval/padded_ids.h"

namespace mpeft::eval {
namespace {

// Prompts of CIFAR have 1,792 tokens and those of SST-2 forty: a bound in tokens suits both.
constexpr int64_t kTokensAtOnce = 65536;

// How many of the prompts from order[begin] on make the next batch; the first is the longest.
size_t batch_end(const std::vector<IdList>& prompts, const std::vector<int64_t>& order, size_t begin,
                 int64_t batch_size) {
  const auto longest = static_cast<int64_t>(prompts[static_cast<size_t>(order[begin])].size());
  const int64_t rows = batch_size > 0 ? batch_size : std::max<int64_t>(1, kTokensAtOnce / longest);
  return std::min(order.size(), begin + static_cast<size_t>(rows));
}

// Logits behind the last token of each row, fp32 (rows, n_valid).
at::Tensor label_logits(model::MambaLM& model, const PaddedIds& batch, int64_t n_valid) {
  const at::Tensor hidden = model->forward_hidden(batch.ids, batch.lengths);  // (rows, seqlen, d_model)
  const at::Tensor row = at::arange(hidden.size(0), batch.ids.options());
  const at::Tensor last = hidden.index({row, batch.lengths.to(at::kLong) - 1});  // (rows, d_model)
  const at::Tensor logits = model->forward_head(last).to(at::kFloat);            // (rows, vocab_size)
  return n_valid > 0 && n_valid < logits.size(-1) ? logits.narrow(-1, 0, n_valid) : logits;
}

std::string text_of(const text::Tokenizer& tokenizer, text::TokenId id, const std::vector<std::string>& classes,
                    const std::vector<text::TokenId>& class_ids) {
  const auto found = std::find(class_ids.begin(), class_ids.end(), id);
  if (found != class_ids.end()) return classes[static_cast<size_t>(found - class_ids.begin())];
  const std::string text = tokenizer.decode({id}, /*skip_special=*/false);
  // Another token can be spelt as a class (SentencePiece has "1" and "▁1"); read again, it must not become one.
  const bool looks_like_class = std::find(classes.begin(), classes.end(), text) != classes.end();
  return looks_like_class ? str("<token ", id, ">") : text;
}

}  // namespace

std::vector<ClassScores> score_classes(model::MambaLM& model, const std::vector<IdList>& prompts,
                                       const std::vector<text::TokenId>& class_ids, const ClassifyOptions& options,
                                       const ClassifyProgress& progress) {
  if (options.batch_size < 0)
    throw ConfigError(str("batch_size: expected 0 (chosen by length) or more, got ", options.batch_size));
  check_ids(prompts, model->config().vocab_size, "prompt");
  if (prompts.empty()) return {};
  const EvalMode eval_mode(model);
  const auto order = order_by_length(prompts);
  const at::Tensor classes = to_tensor({class_ids.begin(), class_ids.end()}, model->device());
  std::vector<at::Tensor> best, log_probs;  // of each batch: (rows) int64, (rows, n_classes) fp32
  for (size_t begin = 0; begin < order.size();) {
    const size_t end = batch_end(prompts, order, begin, options.batch_size);
    const std::vector<int64_t> rows(order.begin() + static_cast<int64_t>(begin),
                                    order.begin() + static_cast<int64_t>(end));
    const at::Tensor logits = label_logits(model, pad_ids(prompts, rows, model->device()), options.n_valid_tokens);
    best.push_back(at::argmax(logits, -1));
    log_probs.push_back(logits.index_select(-1, classes) - at::logsumexp(logits, -1, /*keepdim=*/true));
    begin = end;
    if (progress) progress(static_cast<int64_t>(end), static_cast<int64_t>(order.size()));
  }

  const at::Tensor all_best = at::cat(best).to(at::kCPU);
  const at::Tensor all_log_probs = at::cat(log_probs).to(at::kDouble).to(at::kCPU).contiguous();
  std::vector<ClassScores> scores(prompts.size());
  const auto n_classes = static_cast<int64_t>(class_ids.size());
  for (size_t i = 0; i < order.size(); ++i) {
    auto& score = scores[static_cast<size_t>(order[i])];
    score.best_id = static_cast<text::TokenId>(all_best.const_data_ptr<int64_t>()[i]);
    const double* values = all_log_probs.const_data_ptr<double>() + static_cast<int64_t>(i) * n_classes;
    score.log_probs.assign(values, values + n_classes);
  }
  return scores;
}

std::vector<text::TokenId> class_tokens(const text::Tokenizer& tokenizer, const std::vector<std::string>& classes) {
  std::vector<text::TokenId> tokens;
  for (const auto& name : classes) {
    const auto ids = tokenizer.encode(name);
    if (ids.size() != 1) {
      throw ConfigError(str("classes: '", name, "' is ", ids.size(),
                            " tokens of this tokenizer; a class must be one token (a digit is)"));
    }
    if (std::find(tokens.begin(), tokens.end(), ids[0]) != tokens.end())
      throw ConfigError(str("classes: '", name, "' is the same token as another class"));
    tokens.push_back(ids[0]);
  }
  return tokens;
}

ClassEvaluation evaluate_classes(model::MambaLM& model, const text::Tokenizer& tokenizer,
                                 const std::vector<data::Example>& examples, const std::vector<std::string>& classes,
                                 const std::vector<std::string>& metric_names, ClassifyOptions options,
                                 const ClassifyProgress& progress) {
  if (examples.empty()) throw DataError("evaluation: the split has no examples");
  check_class_metrics(metric_names, classes);
  const auto class_ids = class_tokens(tokenizer, classes);
  if (options.n_valid_tokens == 0)
    options.n_valid_tokens = std::min(tokenizer.vocab_size(), model->config().vocab_size);
  std::vector<IdList> prompts;
  for (const auto& example : examples)
    prompts.emplace_back(example.ids.begin(), example.ids.begin() + example.prompt_length);

  ClassEvaluation result;
  const auto start = std::chrono::steady_clock::now();
  const auto scores = score_classes(model, prompts, class_ids, options, progress);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < examples.size(); ++i) {
    Prediction prediction;
    prediction.record = examples[i].record;
    prediction.input = tokenizer.decode(prompts[i], /*skip_special=*/false);
    prediction.prediction = text_of(tokenizer, scores[i].best_id, classes, class_ids);
    prediction.references = examples[i].references;
    prediction.group = examples[i].group;
    for (size_t k = 0; k < classes.size(); ++k)
      prediction.class_scores.emplace_back(classes[k], scores[i].log_probs[k]);
    result.predictions.push_back(std::move(prediction));
  }
  result.scores = score_predictions(result.predictions, metric_names);
  return result;
}

void check_class_metrics(const std::vector<std::string>& metric_names, const std::vector<std::string>& classes) {
  std::vector<double> all;
  for (size_t i = 0; i < classes.size(); ++i) all.push_back(static_cast<double>(i));
  const auto texts = metrics::metric_names();
  for (const auto& name : metric_names) {
    if (std::find(texts.begin(), texts.end(), name) != texts.end())
      throw ConfigError("metrics: " + name + " compares texts; the labels of this data set are classes");
    const auto metric = metrics::make_pair_metric(name);
    if (!metric->takes_classes())
      throw ConfigError("metrics: " + name + " compares numbers; the labels of this data set are classes");
    try {
      metric->score(all, all);
    } catch (const DataError& e) {
      throw ConfigError("metrics: " + name + ": " + e.what());
    }
  }
}

}  // namespace mpeft::eval
