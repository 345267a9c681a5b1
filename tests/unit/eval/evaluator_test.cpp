#include "mpeft/eval/evaluator.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "unit/eval/tiny_model.h"

namespace mpeft::eval {
namespace {

/// Id n is the text "n " and the last id ends a text; two rows of the tiny model's embedding are padding.
class NumberTokenizer : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view) const override { return {}; }
  std::string decode(const std::vector<text::TokenId>& ids, bool skip_special) const override {
    std::string text;
    for (const auto id : ids) {
      if (id < 0 || id >= vocab_size()) throw DataError(str("id ", id));
      if (!(skip_special && id == eos_id())) text += str(id, " ");
    }
    return text;
  }
  int64_t vocab_size() const override { return 51; }
  std::optional<text::TokenId> token_to_id(std::string_view) const override { return {}; }
  text::TokenId eos_id() const override { return 50; }
  const std::string& fingerprint() const override { return name_; }

 private:
  std::string name_ = "numbers";
};

data::Example example(std::vector<text::TokenId> ids, int64_t prompt_length, int64_t record, std::string reference) {
  data::Example result;
  result.ids = std::move(ids);
  result.prompt_length = prompt_length;
  result.record = record;
  result.references = {std::move(reference)};
  return result;
}

TEST(EvaluatorTest, ContinuesThePromptAloneAndScoresTheText) {
  auto model = tiny_model();
  const NumberTokenizer tokenizer;
  GenerateOptions options;
  options.max_new_tokens = 6;
  const auto expected = generate(model, {{1, 2, 3}}, [&] {
    auto all = options;
    all.eos_id = tokenizer.eos_id();
    all.n_valid_tokens = tokenizer.vocab_size();
    return all;
  }());
  const std::string text(trim(tokenizer.decode(expected[0].ids, true)));

  const std::vector<data::Example> examples = {example({1, 2, 3, 9, 9, 50}, 3, 17, text),
                                               example({4, 50}, 1, 18, "none")};
  const auto result = evaluate_generation(model, tokenizer, examples, {"bleu"}, options);
  ASSERT_EQ(result.predictions.size(), 2U);
  EXPECT_EQ(result.predictions[0].record, 17);
  EXPECT_EQ(result.predictions[0].input, "1 2 3 ");
  EXPECT_EQ(result.predictions[0].prediction, text);
  EXPECT_EQ(result.predictions[1].references, std::vector<std::string>{"none"});
  EXPECT_GT(result.n_tokens, 0);
  EXPECT_EQ(result.scores, score_predictions(result.predictions, {"bleu"}));
  EXPECT_TRUE(result.scores.contains("bleu"));
}

TEST(EvaluatorTest, TellsAnUnknownMetricBeforeGenerating) {
  auto model = tiny_model();
  const NumberTokenizer tokenizer;
  bool has_started = false;
  EXPECT_THROW(evaluate_generation(model, tokenizer, {example({1, 2}, 1, 0, "x")}, {"blue"}, {},
                                   [&](int64_t, int64_t, int64_t) { has_started = true; }),
               ConfigError);
  EXPECT_FALSE(has_started);
  EXPECT_THROW(evaluate_generation(model, tokenizer, {}, {}, {}), DataError);
}

data::Batch golden_batch(const checkpoint::TensorMap& golden, int64_t begin, int64_t rows) {
  data::Batch batch;
  batch.rows = rows;
  batch.seqlen = golden.at("ids").size(1);
  for (int64_t row = begin; row < begin + rows; ++row) {
    batch.lengths.push_back(golden.at("lengths")[row].item<int64_t>());
    for (int64_t t = 0; t < batch.seqlen; ++t) {
      batch.ids.push_back(golden.at("ids")[row][t].item<int64_t>());
      batch.labels.push_back(golden.at("labels")[row][t].item<int64_t>());
    }
  }
  return batch;
}

TEST(EvaluateLossTest, EqualsTheGoldenLossHoweverTheRowsAreBatched) {
  auto model = tiny_model();
  const auto golden = tiny_cases();
  const double truth = golden.at("loss64").item<double>();
  const auto whole = evaluate_loss(model, {golden_batch(golden, 0, 4)});
  EXPECT_NEAR(whole.loss, truth, 1e-5 * truth);
  EXPECT_NEAR(whole.perplexity, std::exp(truth), 1e-4 * std::exp(truth));
  EXPECT_EQ(whole.n_labels, (golden.at("labels") != data::kIgnoreLabel).sum().item<int64_t>());
  const auto parts =
      evaluate_loss(model, {golden_batch(golden, 0, 1), golden_batch(golden, 1, 1), golden_batch(golden, 2, 2)});
  EXPECT_NEAR(parts.loss, truth, 1e-5 * truth);
  EXPECT_EQ(parts.n_labels, whole.n_labels);
  EXPECT_DOUBLE_EQ(parts.token_accuracy, whole.token_accuracy);
}

TEST(EvaluateLossTest, RefusesBatchesWithoutLabels) {
  auto model = tiny_model();
  EXPECT_THROW(evaluate_loss(model, {golden_batch(tiny_cases(), 1, 1)}), DataError);  // one token: nothing follows it
  EXPECT_THROW(evaluate_loss(model, {}), DataError);
}

}  // namespace
}  // namespace mpeft::eval
