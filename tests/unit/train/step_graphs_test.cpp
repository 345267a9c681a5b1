// Steps recorded as CUDA graphs, where they might differ from steps that are not; skipped without a GPU. That every
// PEFT method trains alike is in tests/conformance.
#include "train/step_graphs.h"

#include <ATen/Context.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "mpeft/data/collator.h"
#include "mpeft/model/precision.h"
#include "mpeft/train/device.h"
#include "mpeft/train/step_runner.h"

#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

class StepGraphsOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!ops::DeviceGraph::is_available(resolve_device(""))) GTEST_SKIP() << "no GPU";
  }
  const at::Device gpu_{at::kCUDA, 0};
};

// Rows of 6 to 30 tokens, whose batches come in a few padded shapes.
data::Batch batch_of_step(int step, int n_rows) {
  std::vector<data::Example> examples(static_cast<size_t>(n_rows));
  std::vector<const data::Example*> rows;
  for (size_t i = 0; i < examples.size(); ++i) {
    const int seed = 7 * step + static_cast<int>(i);
    for (int t = 0; t < 6 + seed % 25; ++t) examples[i].ids.push_back((5 * seed + 11 * t + t * t) % 61);
    examples[i].prompt_length = 2 + seed % 3;
    rows.push_back(&examples[i]);
  }
  return data::collate(rows, 0);
}

struct TrainingRun {
  TrainingRun(at::ScalarType dtype, bool use_graphs) {
    for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    model::place_parameters(model, {at::kCUDA, 0}, dtype);
    std::vector<optim::TrainedParameter> parameters;
    for (const auto& item : model->named_parameters()) parameters.push_back({item.key(), item.value()});
    runner = std::make_unique<StepRunner>(model, parameters, optim::AdamWOptions{}, dtype == at::kHalf, use_graphs);
  }
  void expect_equal(const TrainingRun& other) const {
    const auto others = other.model->named_parameters();
    for (const auto& item : model->named_parameters()) {
      EXPECT_TRUE(at::equal(item.value(), others[item.key()])) << item.key();
    }
  }
  model::MambaLM model = test::make_tiny_model();
  std::unique_ptr<StepRunner> runner;
};

TEST_F(StepGraphsOnGpu, AccumulatedGradientsAreTheSameBits) {
  TrainingRun recorded(at::kBFloat16, true), plain(at::kBFloat16, false);
  for (int step = 0; step < 16; ++step) {
    for (const TrainingRun* run : {&recorded, &plain}) {
      run->runner->step({batch_of_step(step, 3), batch_of_step(step + 100, 2), batch_of_step(step + 200, 3)}, 1e-3);
    }
  }
  EXPECT_GT(recorded.runner->n_graphs(), 1U);
  recorded.expect_equal(plain);
  EXPECT_EQ(recorded.runner->take_statistics().loss, plain.runner->take_statistics().loss);
}

TEST_F(StepGraphsOnGpu, LossScaleReachesWhatIsRecorded) {
  TrainingRun recorded(at::kHalf, true), plain(at::kHalf, false);
  for (const TrainingRun* run : {&recorded, &plain}) run->runner->loss_scale().value = 1 << 27;  // overflows at first
  for (int step = 0; step < 24; ++step) {
    for (const TrainingRun* run : {&recorded, &plain}) run->runner->step({batch_of_step(step, 3)}, 1e-3);
    ASSERT_EQ(recorded.runner->loss_scale().value, plain.runner->loss_scale().value) << "step " << step;
  }
  EXPECT_GT(recorded.runner->n_graphs(), 0U);
  EXPECT_LT(recorded.runner->loss_scale().value, 1 << 27);
  recorded.expect_equal(plain);
}

TEST_F(StepGraphsOnGpu, StepsGoOnWhenTheGraphsAreDropped) {
  TrainingRun recorded(at::kBFloat16, true), plain(at::kBFloat16, false);
  for (int step = 0; step < 16; ++step) {
    if (step == 9) {
      EXPECT_GT(recorded.runner->n_graphs(), 0U);
      EXPECT_TRUE(recorded.runner->give_up_graphs());
    }
    for (const TrainingRun* run : {&recorded, &plain}) run->runner->step({batch_of_step(step, 3)}, 1e-3);
  }
  EXPECT_EQ(recorded.runner->n_graphs(), 0U);
  EXPECT_FALSE(recorded.runner->give_up_graphs());
  recorded.expect_equal(plain);
}

// A body that waits for the device cannot be recorded: it must have run once all the same, and what comes after it,
// random numbers, memory and other recordings included, must be as if nobody had tried.
TEST_F(StepGraphsOnGpu, ARecordingThatFailsLeavesNothingBehind) {
  const auto float_on_gpu = at::TensorOptions().dtype(at::kFloat).device(gpu_);
  const auto sum_of = [&](bool may_record) {
    at::manual_seed(3);
    const at::Tensor sum = at::zeros({1000}, float_on_gpu);
    StepGraphs graphs(gpu_, may_record, [&](const StepInputs& inputs) {
      sum.add_(at::dropout(at::ones({1000}, float_on_gpu), 0.5, /*train=*/true).mul(inputs.loss_scale));
      sum.sum().item<float>();
    });
    for (int i = 0; i < 5; ++i) graphs.run(batch_of_step(1, 3), 4, 1.0 + i, /*may_record_now=*/true);
    EXPECT_EQ(graphs.size(), 0U);
    return sum;
  };
  const at::Tensor plain = sum_of(false), tried = sum_of(true);
  EXPECT_GT(plain.sum().item<float>(), 0);
  EXPECT_TRUE(at::equal(plain, tried));

  const at::Tensor count = at::zeros({}, float_on_gpu);
  StepGraphs graphs(gpu_, true, [&](const StepInputs& inputs) { count.add_(inputs.loss_scale); });
  for (int i = 0; i < 5; ++i) graphs.run(batch_of_step(1, 3), 4, 1.0 + i, /*may_record_now=*/true);
  EXPECT_EQ(graphs.size(), 1U);
  EXPECT_EQ(count.item<float>(), 15);
}

}  // namespace
}  // namespace mpeft::train
