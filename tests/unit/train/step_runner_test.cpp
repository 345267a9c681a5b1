#include "mpeft/train/step_runner.h"

#include <limits>

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/data/collator.h"
#include "mpeft/model/precision.h"
#include "mpeft/train/loss.h"

#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

std::vector<data::Example> some_examples() {
  std::vector<data::Example> examples;
  for (int i = 0; i < 8; ++i) {
    data::Example example;
    for (int t = 0; t < 5 + 3 * (i % 4); ++t) example.ids.push_back((7 * i + 11 * t + t * t) % 61);
    example.prompt_length = 2 + i % 3;
    examples.push_back(example);
  }
  return examples;
}

data::Batch batch_of(const std::vector<data::Example>& examples, size_t begin, size_t end) {
  std::vector<const data::Example*> rows;
  for (size_t i = begin; i < end; ++i) rows.push_back(&examples[i]);
  return data::collate(rows, 0);
}

model::MambaLM trainable_model() {
  auto model = test::make_tiny_model();
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
  model::place_parameters(model, at::kCPU, at::kFloat);
  return model;
}

std::vector<optim::TrainedParameter> parameters_of(model::MambaLM& model) {
  std::vector<optim::TrainedParameter> result;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad()) result.push_back({item.key(), item.value()});
  }
  return result;
}

TEST(StepRunnerTest, AccumulatedMicroBatchesTrainAsOneBatch) {
  const auto examples = some_examples();
  auto whole = trainable_model(), parts = trainable_model();
  StepRunner a(whole, parameters_of(whole), {}, false), b(parts, parameters_of(parts), {}, false);
  for (int step = 0; step < 3; ++step) {
    a.step({batch_of(examples, 0, 8)}, 1e-3);
    b.step({batch_of(examples, 0, 3), batch_of(examples, 3, 8)}, 1e-3);
  }
  const auto x = a.take_statistics(), y = b.take_statistics();
  EXPECT_NEAR(x.loss, y.loss, 1e-5 * x.loss);
  EXPECT_NEAR(x.gradient_norm, y.gradient_norm, 1e-4 * x.gradient_norm);
  EXPECT_EQ(x.consecutive_bad, 0);
}

TEST(StepRunnerTest, PaddingDoesNotChangeTheLoss) {
  const auto examples = some_examples();
  auto model = trainable_model();
  double separate = 0;
  for (size_t i = 0; i < examples.size(); ++i)
    separate += token_loss_sum(model, batch_of(examples, i, i + 1)).item<double>();
  EXPECT_NEAR(token_loss_sum(model, batch_of(examples, 0, 8)).item<double>(), separate, 1e-4 * separate);
}

TEST(StepRunnerTest, LossFallsOnABatchSeenAgain) {
  const auto examples = some_examples();
  auto model = trainable_model();
  StepRunner runner(model, parameters_of(model), {}, false);
  runner.step({batch_of(examples, 0, 8)}, 5e-3);
  const double first = runner.take_statistics().loss;
  for (int i = 0; i < 30; ++i) runner.step({batch_of(examples, 0, 8)}, 5e-3);
  runner.take_statistics();
  runner.step({batch_of(examples, 0, 8)}, 5e-3);
  EXPECT_LT(runner.take_statistics().loss, 0.5 * first);
}

TEST(StepRunnerTest, NamesATensorThatGetsNoGradient) {
  const auto examples = some_examples();
  auto model = trainable_model();
  auto parameters = parameters_of(model);
  parameters.push_back({"orphan", at::zeros({3}).set_requires_grad(true)});
  StepRunner runner(model, parameters, {}, false);
  try {
    runner.step({batch_of(examples, 0, 8)}, 1e-3);
    FAIL() << "an untrained tensor was accepted";
  } catch (const TrainingStopped& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("orphan: no gradient"));
    EXPECT_EQ(e.exit_code(), ExitCode::kTrainingStopped);
  }
}

TEST(StepRunnerTest, NamesATensorWhoseGradientIsNotFinite) {
  const auto examples = some_examples();
  auto model = trainable_model();
  {
    const torch::NoGradGuard no_grad;
    model->backbone->layers[1]->mixer->D.fill_(std::numeric_limits<float>::quiet_NaN());
  }
  StepRunner runner(model, parameters_of(model), {}, false);
  EXPECT_THROW(runner.step({batch_of(examples, 0, 8)}, 1e-3), TrainingStopped);
  EXPECT_EQ(first_not_finite(model, batch_of(examples, 0, 8)), "layer 1");
}

struct BrokenPrompt : model::PromptAdapter, torch::nn::Module {
  at::Tensor virtual_tokens(at::ScalarType dtype) override {
    return at::full({2, 24}, std::numeric_limits<double>::quiet_NaN(), dtype);
  }
};

TEST(StepRunnerTest, FindsValuesThatAreNotFiniteInWhatTextsStartFrom) {
  const auto examples = some_examples();
  auto model = test::make_tiny_model();
  EXPECT_EQ(first_not_finite(model, batch_of(examples, 0, 8)), "");
  const auto prompt = std::make_shared<BrokenPrompt>();
  model->attach_prompt(prompt, prompt);
  EXPECT_EQ(first_not_finite(model, batch_of(examples, 0, 8)), "initial state of layer 0");
}

TEST(StepRunnerTest, LowPrecisionTrainsWithMasterWeights) {
  const auto examples = some_examples();
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    auto model = test::make_tiny_model();
    for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    model::place_parameters(model, at::kCPU, dtype);
    for (const auto& parameter : model->parameters()) EXPECT_EQ(parameter.scalar_type(), at::kFloat);
    StepRunner runner(model, parameters_of(model), {}, dtype == at::kHalf);
    runner.step({batch_of(examples, 0, 8)}, 5e-3);
    const double first = runner.take_statistics().loss;
    for (int i = 0; i < 40; ++i) runner.step({batch_of(examples, 0, 8)}, 5e-3);
    runner.take_statistics();
    runner.step({batch_of(examples, 0, 8)}, 5e-3);
    EXPECT_LT(runner.take_statistics().loss, 0.6 * first) << at::toString(dtype);
  }
}

TEST(StepRunnerTest, KnowsWhetherLossAndWeightsAreFinite) {
  const auto examples = some_examples();
  auto model = trainable_model();
  StepRunner runner(model, parameters_of(model), {}, /*use_loss_scale=*/true);
  EXPECT_TRUE((runner.has_finite_weights() && runner.has_finite_loss())) << "before the first step";
  runner.loss_scale().value =
      1e38;  // the gradient overflows and the step is skipped: nothing is wrong with the weights
  runner.step({batch_of(examples, 0, 8)}, 1e-3);
  EXPECT_FALSE(std::isfinite(runner.take_statistics().gradient_norm));
  EXPECT_TRUE((runner.has_finite_weights() && runner.has_finite_loss()));
  const at::NoGradGuard no_grad;
  model->parameters()[1].view(-1)[0] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE((runner.has_finite_weights() && runner.has_finite_loss())) << "a weight";
  model->parameters()[1].view(-1)[0] = 0;
  EXPECT_TRUE((runner.has_finite_weights() && runner.has_finite_loss()));
  const at::AutoGradMode grad(true);
  model->parameters()[1].detach().fill_(std::numeric_limits<float>::quiet_NaN());
  runner.step({batch_of(examples, 0, 8)}, 1e-3);
  EXPECT_FALSE((runner.has_finite_weights() && runner.has_finite_loss()));
}

}  // namespace
}  // namespace mpeft::train
