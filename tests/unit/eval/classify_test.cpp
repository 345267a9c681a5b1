#include "mpeft/eval/classify.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/eval/evaluator.h"
#include "mpeft/eval/logits.h"

#include "unit/eval/tiny_model.h"

namespace mpeft::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Id n is the text "n", but 40 is spelt as 4 is; two rows of the tiny model's embedding are padding.
class DigitTokenizer : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view text) const override {
    std::vector<text::TokenId> ids;
    for (const auto& word : split(text, ' ')) ids.push_back(static_cast<text::TokenId>(std::stoi(word)));
    return ids;
  }
  std::string decode(const std::vector<text::TokenId>& ids, bool) const override {
    std::vector<std::string> words;
    for (const auto id : ids) words.push_back(str(id == 40 ? 4 : id));
    return join(words, " ");
  }
  int64_t vocab_size() const override { return 51; }
  std::optional<text::TokenId> token_to_id(std::string_view) const override { return {}; }
  text::TokenId eos_id() const override { return 50; }
  const std::string& fingerprint() const override { return name_; }

 private:
  std::string name_ = "digits";
};

// Prompts of 1 to 23 tokens.
std::vector<std::vector<text::TokenId>> prompts() {
  Random random(3);
  std::vector<std::vector<text::TokenId>> lists;
  for (const size_t length : {5, 1, 23, 8, 2, 17, 5, 11, 3, 1, 16}) {
    lists.emplace_back(length);
    for (auto& id : lists.back()) id = static_cast<text::TokenId>(random.below(51));
  }
  return lists;
}

TEST(ClassifyTest, EqualsTheLogitsBehindEachPrompt) {
  auto model = tiny_model();
  const std::vector<text::TokenId> classes = {7, 3, 50};
  const auto scores = score_classes(model, prompts(), classes, {.batch_size = 4, .n_valid_tokens = 51});
  const auto logits = compute_logits(model, prompts());
  ASSERT_EQ(scores.size(), logits.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    const at::Tensor last = logits[i][-1].narrow(0, 0, 51);
    EXPECT_EQ(scores[i].best_id, last.argmax().item<int64_t>()) << i;
    const at::Tensor log_probs = at::log_softmax(last, -1);
    for (size_t k = 0; k < classes.size(); ++k)
      EXPECT_NEAR(scores[i].log_probs[k], log_probs[classes[k]].item<double>(), 1e-5) << i << " " << k;
  }
}

TEST(ClassifyTest, ABatchOfAnySizeGivesWhatOneByOneGives) {
  auto model = tiny_model();
  const std::vector<text::TokenId> classes = {1, 2};
  const auto alone = score_classes(model, prompts(), classes, {.batch_size = 1});
  for (const int64_t batch_size : {0, 2, 3, 7, 100}) {
    const auto together = score_classes(model, prompts(), classes, {.batch_size = batch_size});
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(together[i].best_id, alone[i].best_id) << batch_size << " " << i;
      for (size_t k = 0; k < classes.size(); ++k)
        EXPECT_NEAR(together[i].log_probs[k], alone[i].log_probs[k], 1e-5) << batch_size << " " << i;
    }
  }
}

TEST(ClassifyTest, NeverChoosesRowsThatPadTheEmbedding) {
  auto model = tiny_model();
  for (const auto& score : score_classes(model, prompts(), {0}, {.n_valid_tokens = 2})) EXPECT_LT(score.best_id, 2);
}

TEST(ClassifyTest, ReportsProgressAndRefusesWhatCannotBeRead) {
  auto model = tiny_model();
  std::vector<int64_t> done;
  score_classes(model, prompts(), {0}, {.batch_size = 4}, [&](int64_t n, int64_t) { done.push_back(n); });
  EXPECT_THAT(done, ElementsAre(4, 8, 11));
  EXPECT_TRUE(score_classes(model, {}, {0}, {}).empty());
  EXPECT_THAT([&] { score_classes(model, {{1}, {}}, {0}, {}); }, ThrowsMessage<DataError>(HasSubstr("prompt 2")));
  EXPECT_THAT([&] { score_classes(model, {{1}, {53}}, {0}, {}); }, ThrowsMessage<DataError>(HasSubstr("id 53")));
  EXPECT_THROW(score_classes(model, {{1}}, {0}, {.batch_size = -1}), ConfigError);
}

TEST(ClassifyTest, AClassIsExactlyOneToken) {
  const DigitTokenizer tokenizer;
  EXPECT_THAT(class_tokens(tokenizer, {"3", "12"}), ElementsAre(3, 12));
  EXPECT_THAT(
      [&] {
        class_tokens(tokenizer, {"3", "1 2"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("'1 2' is 2 tokens of this tokenizer")));
  EXPECT_THAT(
      [&] {
        class_tokens(tokenizer, {"3", "03"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("'03' is the same token as another class")));
}

std::vector<data::Example> examples(const std::string& reference) {
  std::vector<data::Example> list;
  for (const auto& prompt : prompts()) {
    data::Example example;
    example.ids = prompt;
    example.prompt_length = static_cast<int64_t>(prompt.size());
    example.ids.push_back(4);
    example.references = {reference};
    example.record = static_cast<int64_t>(100 + list.size());
    list.push_back(std::move(example));
  }
  return list;
}

TEST(EvaluateClassesTest, PredictionsCarryTextReferenceAndClassScoresAndScoreTheSameLater) {
  auto model = tiny_model();
  const DigitTokenizer tokenizer;
  const auto result = evaluate_classes(model, tokenizer, examples("4"), {"4", "9"}, {"accuracy"}, {.batch_size = 3});
  const auto expected = score_classes(model, prompts(), {4, 9}, {.batch_size = 1, .n_valid_tokens = 51});
  ASSERT_EQ(result.predictions.size(), expected.size());
  double n_best_is_4 = 0, n_4_beats_9 = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& prediction = result.predictions[i];
    EXPECT_EQ(prediction.record, static_cast<int64_t>(100 + i));
    EXPECT_EQ(prediction.input, tokenizer.decode(prompts()[i], false));
    const auto id = expected[i].best_id;
    EXPECT_EQ(prediction.prediction, id == 40 ? "<token 40>" : str(id)) << "40 is spelt as class 4 but is none";
    EXPECT_THAT(prediction.references, ElementsAre("4"));
    ASSERT_EQ(prediction.class_scores.size(), 2U);
    EXPECT_EQ(prediction.class_scores[1].first, "9");
    EXPECT_NEAR(prediction.class_scores[1].second, expected[i].log_probs[1], 1e-5);
    n_best_is_4 += id == 4 ? 1 : 0;
    n_4_beats_9 += expected[i].log_probs[0] >= expected[i].log_probs[1] ? 1 : 0;
  }
  const auto n = static_cast<double>(expected.size());
  EXPECT_DOUBLE_EQ(result.scores.at("accuracy"), n_best_is_4 / n);
  EXPECT_DOUBLE_EQ(result.scores.at("accuracy_choices"), n_4_beats_9 / n);
  const auto rescored = score_predictions(result.predictions, {"accuracy"});
  EXPECT_EQ(rescored.size(), result.scores.size());
  EXPECT_EQ(rescored.at("accuracy_choices"), result.scores.at("accuracy_choices"));
}

TEST(EvaluateClassesTest, RefusesWhatCannotBeScoredBeforeAnythingRuns) {
  auto model = tiny_model();
  const DigitTokenizer tokenizer;
  const auto evaluate = [&](const std::vector<std::string>& classes, const std::vector<std::string>& names) {
    evaluate_classes(model, tokenizer, examples(classes[0]), classes, names, {},
                     [](int64_t, int64_t) { FAIL() << "it ran"; });
  };
  EXPECT_THAT([&] { evaluate({"1", "2"}, {"bleu"}); }, ThrowsMessage<ConfigError>(HasSubstr("bleu compares texts")));
  EXPECT_THAT(
      [&] {
        evaluate({"1", "2"}, {"pearson"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("pearson compares numbers")));
  EXPECT_THAT([&] { evaluate({"1", "2"}, {"acuracy"}); }, ThrowsMessage<ConfigError>(HasSubstr("'accuracy'")));
  EXPECT_THAT(
      [&] {
        evaluate({"1", "2", "3"}, {"f1"});
      },
      ThrowsMessage<ConfigError>(HasSubstr("f1 is of two classes")));
  EXPECT_THROW(evaluate_classes(model, tokenizer, {}, {"1", "2"}, {"accuracy"}, {}), DataError);
}

}  // namespace
}  // namespace mpeft::eval
