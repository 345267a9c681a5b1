// Training with every PEFT method: what moves and what does not, resumed runs, recorded steps.
#include <map>

#include <gtest/gtest.h>

#include "kernels/glue/device_graph.h"
#include "mpeft/core/random.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/train/device.h"
#include "mpeft/train/step_runner.h"

#include "conformance/peft_cases.h"
#include "support/temporary_folder.h"

namespace mpeft::peft::conformance {
namespace {

train::StepRunner make_runner(Subject& subject, bool use_graphs = true) {
  std::vector<optim::TrainedParameter> parameters;
  for (const auto& p : trained_parameters(subject.model, subject.method.get()))
    parameters.push_back({p.name, p.tensor, p.lr_scale, p.weight_decay});
  optim::AdamWOptions options;
  options.weight_decay = 0.1;
  return train::StepRunner(subject.model, std::move(parameters), options, /*use_loss_scale=*/false, use_graphs);
}

void train_steps(Subject& subject, train::StepRunner& runner, int begin, int end) {
  subject.model->train();
  for (int step = begin; step < end; ++step) {
    train::seed_generators(subject.model->device(), derive_seed(3, "dropout", static_cast<uint64_t>(step)));
    runner.step({batch_of_step(step)}, /*learning_rate=*/2e-3);
  }
}

std::map<std::string, at::Tensor> copies(model::MambaLM& model, bool trained) {
  std::map<std::string, at::Tensor> result;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad() == trained) result.emplace(item.key(), item.value().detach().clone());
  }
  return result;
}

TEST_P(EveryPeftMethod, LeavesFrozenTensorsAsTheyAre) {
  auto subject = make_subject(GetParam());
  const auto frozen = copies(subject.model, /*trained=*/false), initial = copies(subject.model, /*trained=*/true);
  auto runner = make_runner(subject);
  train_steps(subject, runner, 0, 10);
  for (const auto& item : subject.model->named_parameters()) {
    if (item.value().requires_grad()) {
      EXPECT_FALSE(at::equal(item.value(), initial.at(item.key()))) << item.key() << " did not train";
    } else {
      EXPECT_TRUE(at::equal(item.value(), frozen.at(item.key()))) << item.key() << " moved";
    }
  }
  EXPECT_TRUE(at::isfinite(logits_of(subject.model)).all().item<bool>());
}

TEST_P(EveryPeftMethod, ResumedRunEqualsTheUninterruptedOneBitForBit) {
  const test::TemporaryFolder folder;
  auto whole = make_subject(GetParam());
  auto runner = make_runner(whole);
  train_steps(whole, runner, 0, 3);
  save_adapter(*whole.method, "some/base", folder / "adapter");
  checkpoint::TensorMap state;
  for (const auto& [name, tensor] : runner.optimizer().state()) state.emplace(name, tensor.clone());
  train_steps(whole, runner, 3, 6);

  auto resumed = make_subject(GetParam());
  auto again = make_runner(resumed);
  load_parameters(*resumed.method, checkpoint::read_adapter_folder(folder / "adapter").tensors, "adapter");
  again.optimizer().load_state(state);
  train_steps(resumed, again, 3, 6);
  const auto expected = copies(whole.model, /*trained=*/true), found = copies(resumed.model, /*trained=*/true);
  ASSERT_EQ(expected.size(), found.size());
  for (const auto& [name, tensor] : expected) EXPECT_TRUE(at::equal(tensor, found.at(name))) << name;
}

// Steps recorded as CUDA graphs. Batches of 3 rows have two padded shapes here, so most of twelve steps are replays.
TEST(EveryPeftMethodOnGpu, TrainsWithGraphsAsWithoutBitForBit) {
  if (!ops::DeviceGraph::is_available(train::resolve_device(""))) GTEST_SKIP() << "no GPU";
  for (const Case& c : all_cases()) {
    SCOPED_TRACE(c.where);
    auto recorded = make_subject(c, at::kBFloat16, {at::kCUDA, 0}),
         plain = make_subject(c, at::kBFloat16, {at::kCUDA, 0});
    auto with_graphs = make_runner(recorded), without = make_runner(plain, /*use_graphs=*/false);
    train_steps(recorded, with_graphs, 0, 12);
    train_steps(plain, without, 0, 12);
    EXPECT_GT(with_graphs.n_graphs(), 0U);
    EXPECT_EQ(without.n_graphs(), 0U);
    const auto a = copies(recorded.model, /*trained=*/true), b = copies(plain.model, /*trained=*/true);
    for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
    EXPECT_EQ(with_graphs.take_statistics().loss, without.take_statistics().loss);
  }
}

}  // namespace
}  // namespace mpeft::peft::conformance
