// What every PEFT method must do, on a tiny model: for each example that a registered method gives of itself and for
// each file of cfg/peft.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/glue/device_graph.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/random.h"
#include "mpeft/data/collator.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/init.h"
#include "mpeft/model/precision.h"
#include "mpeft/model/token_stepper.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/peft/target.h"
#include "mpeft/train/device.h"
#include "mpeft/train/loss.h"
#include "mpeft/train/step_runner.h"

#include "support/temporary_folder.h"

namespace mpeft::peft {
namespace {

namespace sfs = std::filesystem;

constexpr size_t kConfigFiles = 129;  // reference/peft_configs.tsv

struct Case {
  std::string name;   // of the test
  std::string json;   // the configuration
  std::string where;  // the file or example that it came from
};

std::string test_name(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return text;
}

std::vector<sfs::path> config_files() {
  std::vector<sfs::path> files;
  const sfs::path root = sfs::path(MPEFT_SOURCE_DIR) / "cfg/peft";
  if (!sfs::exists(root)) return files;
  for (const auto& entry : sfs::recursive_directory_iterator(root)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// 80 channels, so that the reference's share of 1 % of them is one; sizes that differ from each other, from the number
// of tokens in a batch and from twice the number of states, so that a shape says whose gradient it is.
model::MambaLM make_base() {
  model::MambaConfig config;
  config.d_model = 40;
  config.dt_rank = 7;
  config.n_layer = 2;
  config.vocab_size = 61;
  model::MambaLM model(config);
  model::init_parameters(model, /*seed=*/5);
  return model;
}

// Moves every trained value away from where it started, the same way each time, so that all of the adapter acts.
void disturb(const PeftMethod& method, double size = 0.1) {
  const torch::NoGradGuard no_grad;
  double phase = 1;
  for (auto& parameter : method.parameters()) {
    const at::Tensor wave = at::sin(at::arange(parameter.tensor.numel(), at::kDouble) * 1.37 + phase++);
    parameter.tensor.add_((wave * size).view(parameter.tensor.sizes()));
  }
}

// A configuration, and those of the stages after it, each decided by a disturbed adapter of the one before.
void add_cases(std::vector<Case>& cases, const std::string& name, std::string json, const std::string& where) {
  for (int stage = 1;; ++stage) {
    const std::string suffix = stage == 1 ? "" : "_stage" + std::to_string(stage);
    cases.push_back({test_name(name) + suffix, json, where + suffix});
    // A configuration that cannot be made fails in its own tests, not while the list of tests is made.
    try {
      const auto method = make_peft_method(json, where);
      if (stage_of(*method).is_last()) return;
      auto model = make_base();
      method->inject(model, /*seed=*/11);
      disturb(*method);
      json = next_stage_json(*method);
    } catch (const std::exception&) {
      return;
    }
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& method : peft_method_names()) {
    int n = 0;
    for (const auto& example : peft_method_examples(method)) {
      const std::string name = method + "_example" + std::to_string(++n);
      add_cases(cases, name, example, name);
    }
  }
  for (const auto& file : config_files()) {
    const std::string name = file.lexically_relative(MPEFT_SOURCE_DIR).replace_extension().string();
    add_cases(cases, name, fs::read_file(file), file.string());
  }
  return cases;
}

void PrintTo(const Case& c, std::ostream* out) { *out << c.where; }

struct Subject {
  model::MambaLM model{nullptr};
  std::unique_ptr<PeftMethod> method;
};

Subject make_subject(const Case& c, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) {
  Subject subject;
  subject.model = make_base();
  subject.method = make_peft_method(c.json, c.where);
  subject.method->inject(subject.model, /*seed=*/11);
  model::place_parameters(subject.model, device, dtype);
  return subject;
}

const at::Tensor& some_ids() {
  static const at::Tensor ids = at::tensor({3, 17, 60, 5, 5, 41, 8, 0, 22, 9, 30}, at::kLong).unsqueeze(0);
  return ids;
}

at::Tensor logits_of(model::MambaLM& model) {
  const torch::NoGradGuard no_grad;
  model->eval();
  return model->forward(some_ids());
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

const std::vector<data::Example>& examples() {
  static const auto list = [] {
    std::vector<data::Example> made;
    for (int i = 0; i < 6; ++i) {
      data::Example& example = made.emplace_back();
      for (int t = 0; t < 4 + 2 * (i % 3); ++t) example.ids.push_back((7 * i + 11 * t + t * t) % 61);
      example.prompt_length = 1 + i % 3;
    }
    return made;
  }();
  return list;
}

data::Batch batch_of_step(int step) {
  const auto& all = examples();
  const size_t n = all.size(), first = static_cast<size_t>(step) % n;
  return data::collate({&all[first], &all[(first + 1) % n], &all[(first + 2) % n]}, /*pad_id=*/0);
}

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

// Shapes of all tensors that operations compute while `work` runs, and by which; a view is not computed, nor is what
// lies in one of `storages`.
template <typename Work>
std::map<std::vector<int64_t>, std::string> computed_shapes(const std::set<const void*>& storages, const Work& work) {
  static std::map<std::vector<int64_t>, std::string> found;
  static const std::set<const void*>* known = nullptr;
  found.clear();
  known = &storages;
  const auto handle = at::addGlobalCallback(
      at::RecordFunctionCallback(nullptr,
                                 [](const at::RecordFunction& function, at::ObserverContext*) {
                                   static const std::set<std::string> views = {
                                       "aten::detach",  "aten::t",       "aten::transpose",  "aten::view",
                                       "aten::reshape", "aten::expand",  "aten::slice",      "aten::narrow",
                                       "aten::select",  "aten::permute", "aten::as_strided", "aten::alias",
                                       "aten::squeeze", "aten::flatten", "aten::unsqueeze",  "aten::resolve_conj"};
                                   if (views.contains(function.name())) return;
                                   for (const auto& value : function.outputs()) {
                                     if (!value.isTensor() || !value.toTensor().defined()) continue;
                                     const at::Tensor& tensor = value.toTensor();
                                     if (known->contains(tensor.storage().data())) continue;
                                     found.emplace(tensor.sizes().vec(), function.name());
                                   }
                                 })
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  return found;
}

class EveryPeftMethod : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { at::set_num_threads(1); }  // the operations are tiny
};

TEST(EveryPeftConfig, IsThere) { EXPECT_EQ(config_files().size(), kConfigFiles); }

TEST_P(EveryPeftMethod, IsIdentityAtStartWhereItSaysSo) {
  auto base = make_base();
  auto subject = make_subject(GetParam());
  const at::Tensor expected = logits_of(base), found = logits_of(subject.model);
  if (subject.method->is_identity_at_start()) {
    EXPECT_LE(relative_difference(found, expected), 2e-6);
  } else {
    EXPECT_GT(relative_difference(found, expected), 1e-4);
  }
}

TEST_P(EveryPeftMethod, TrainsExactlyWhatItNames) {
  auto subject = make_subject(GetParam());
  std::set<std::string> names, sites;
  std::set<const void*> listed, trained;
  for (const auto& parameter : subject.method->parameters()) {
    EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name << " twice";
    EXPECT_THAT(parameter.name, ::testing::AnyOf(::testing::StartsWith("base_model.model."),
                                                 "prompt_embeddings"));  // PEFT's name, whole
    EXPECT_FALSE(parameter.site.empty()) << parameter.name;
    EXPECT_GT(parameter.tensor.numel(), 0) << parameter.name;
    EXPECT_TRUE(parameter.tensor.is_leaf() && parameter.tensor.requires_grad()) << parameter.name;
    listed.insert(parameter.tensor.unsafeGetTensorImpl());
  }
  for (const auto& item : subject.model->named_parameters()) {
    if (!item.value().requires_grad()) continue;
    trained.insert(item.value().unsafeGetTensorImpl());
    EXPECT_TRUE(listed.contains(item.value().unsafeGetTensorImpl())) << item.key() << " trains unnamed";
  }
  EXPECT_EQ(listed, trained);
  EXPECT_FALSE(listed.empty());

  // Counting alone, on a model without weights, finds the same.
  model::MambaLM sizes(subject.model->config());
  const auto counted = make_peft_method(GetParam().json, GetParam().where);
  counted->inject_shapes(sizes);
  const auto a = counted->parameters(), b = subject.method->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_EQ(a[i].tensor.sizes(), b[i].tensor.sizes());
  }
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

TEST_P(EveryPeftMethod, SavedAdapterGivesTheSameLogitsBitForBit) {
  const test::TemporaryFolder folder;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  save_adapter(*subject.method, "some/base", folder / "adapter");
  auto again = make_base();
  const auto method = load_adapter(again, folder / "adapter");
  model::place_parameters(again, at::kCPU, at::kFloat);
  EXPECT_TRUE(at::equal(logits_of(subject.model), logits_of(again)));
  EXPECT_EQ(method->type(), subject.method->type());
}

TEST_P(EveryPeftMethod, RecurrentDecodingEqualsTheParallelForward) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  const at::Tensor parallel = logits_of(subject.model);
  const double limit = 5e-4 * std::max(1.0, parallel.abs().max().item<double>());
  for (const int64_t prompt : {1, 4}) {
    model::InferenceCache cache;
    std::vector<at::Tensor> pieces = {
        subject.model->forward_hidden(some_ids().narrow(1, 0, prompt), std::nullopt, &cache)};
    for (int64_t t = prompt; t < some_ids().size(1); ++t)
      pieces.push_back(subject.model->forward_hidden(some_ids().narrow(1, t, 1), std::nullopt, &cache));
    const at::Tensor recurrent = subject.model->forward_head(at::cat(pieces, 1));
    ASSERT_EQ(recurrent.sizes(), parallel.sizes());
    EXPECT_LE((recurrent - parallel).abs().max().item<double>(), limit) << "after a prompt of " << prompt;
  }
}

// What generation on a GPU goes through, here with the operators of the CPU.
TEST_P(EveryPeftMethod, TokensStepByStepEqualTheModules) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->eval();
  const auto ids = at::cat({some_ids(), some_ids().flip(1), some_ids().roll(3)});  // (3, seqlen)
  model::InferenceCache cache;
  subject.model->forward_hidden(ids, {}, &cache);
  model::TokenStepper stepper(subject.model);
  model::InferenceCache states[2] = {cache, stepper.make_states(3)};
  const std::vector<std::vector<int64_t>> parents{{0, 1, 2}, {2, 2, 0}, {1, 0, 1}};
  for (size_t turn = 0; turn < parents.size(); ++turn) {
    const auto index = at::tensor(parents[turn], at::kLong);
    const auto tokens = ids.select(1, static_cast<int64_t>(turn));
    cache.select_rows(index);
    const auto expected = subject.model->forward_hidden(tokens.unsqueeze(1), {}, &cache).squeeze(1);
    const auto ours = stepper.step(tokens, index, states[turn % 2], states[1 - turn % 2]);
    EXPECT_TRUE(at::equal(ours, expected)) << "turn " << turn << ": " << relative_difference(ours, expected);
  }
}

TEST_P(EveryPeftMethod, PaddedRowsDecodeAsTheyDoAlone) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->eval();
  const at::Tensor next = at::tensor({7, 33}, at::kLong).unsqueeze(1);  // (2, 1)
  const at::Tensor lengths = at::tensor({9, 5}, at::kInt);
  at::Tensor rows = at::cat({some_ids().narrow(1, 0, 9), some_ids().narrow(1, 2, 9)});  // (2, 9)
  model::InferenceCache together;
  const at::Tensor prompt = subject.model->forward_hidden(rows, lengths, &together);
  const at::Tensor step = subject.model->forward_hidden(next, std::nullopt, &together);
  for (int64_t row = 0; row < 2; ++row) {
    const int64_t n = row == 0 ? 9 : 5;
    model::InferenceCache alone;
    const at::Tensor own = subject.model->forward_hidden(rows.narrow(0, row, 1).narrow(1, 0, n), std::nullopt, &alone);
    EXPECT_LE(relative_difference(prompt[row].narrow(0, 0, n), own[0]), 1e-5) << "row " << row;
    const at::Tensor own_step = subject.model->forward_hidden(next.narrow(0, row, 1), std::nullopt, &alone);
    EXPECT_LE(relative_difference(step[row], own_step[0]), 1e-5) << "row " << row;
  }
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

TEST_P(EveryPeftMethod, GradientsEqualFiniteDifferences) {
  auto subject = make_subject(GetParam(), at::kDouble);
  disturb(*subject.method);
  subject.model->eval();  // dropout off
  const data::Batch batch = batch_of_step(1);
  train::token_loss_sum(subject.model, batch).backward();
  const bool is_dora = GetParam().json.find("\"use_dora\": true") != std::string::npos;
  const torch::NoGradGuard no_grad;
  double phase = 0.5;
  for (auto& [name, tensor, site, lr_scale, weight_decay] : subject.method->parameters()) {
    // DoRA's gradient takes the norm for a constant (Liu et al. 2024, section 4.3), so only that of the magnitude is
    // the function's; dora_test.cpp checks the others.
    if (is_dora && name.find("lora_magnitude_vector") == std::string::npos) continue;
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const at::Tensor start = tensor.detach().clone();
    const at::Tensor wave = at::cos(at::arange(tensor.numel(), at::kDouble) * 0.91 + phase++).view(tensor.sizes());
    at::Tensor largest = at::zeros_like(start);  // one entry alone: where the gradient is largest
    largest.view({-1}).index_fill_(0, tensor.grad().abs().argmax(), 1.0);
    for (const at::Tensor& direction : {wave, largest}) {
      const auto loss_at = [&, &value = tensor](double distance) {
        value.copy_(start + direction * distance);
        return train::token_loss_sum(subject.model, batch).item<double>();
      };
      constexpr double kStep = 1e-5;
      const double expected = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      tensor.copy_(start);
      const double found = (tensor.grad() * direction).sum().item<double>();
      EXPECT_NEAR(found, expected, 2e-6 * std::max(1.0, std::abs(expected))) << name;
    }
  }
}

// What is written of an adapter that does not merge: the states that it amounts to, which an SSMPEFT adapter on the
// plain base reads, or its own tensors, whole.
void expect_exported_state(Subject& subject, const at::Tensor& adapted) {
  const auto exported = subject.method->export_state(subject.model);
  if (subject.method->amounts_to_start_states()) {
    auto base = make_base();
    const auto states = make_peft_method(
        R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}, "conv_init_state": true})",
        "states");
    states->inject(base, /*seed=*/0);
    load_parameters(*states, exported, "states");
    EXPECT_LE(relative_difference(logits_of(base), adapted), 1e-5);
    return;
  }
  const auto own = subject.method->parameters();
  EXPECT_EQ(exported.size(), own.size());
  for (const auto& parameter : own) {
    ASSERT_TRUE(exported.contains(parameter.name)) << parameter.name;
    EXPECT_TRUE(at::equal(exported.at(parameter.name), parameter.tensor)) << parameter.name;
  }
}

// Neither a frozen weight, nor the rows of one whose others train, nor the dense table of which SD_LORA trains columns.
TEST_P(EveryPeftMethod, BackwardComputesNothingForFrozenWeights) {
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->train();
  const auto& sizes = subject.model->config();
  std::set<std::vector<int64_t>> frozen, trained;  // shapes
  std::set<const void*> storages;
  for (const auto& item : subject.model->named_parameters()) {
    storages.insert(item.value().storage().data());
    const auto shape = item.value().sizes().vec();
    (item.value().requires_grad() ? trained : frozen).insert(shape);
    if (item.value().requires_grad()) trained.insert({shape.rbegin(), shape.rend()});  // of a product, either way round
  }
  for (const auto& target : list_targets(subject.model)) {
    if (target.is_slice && !target.projection->weight.requires_grad())
      frozen.insert({target.out_features, target.in_features});
    if (target.conv) frozen.insert({target.out_features, target.in_features});  // as the operator sees the kernel
  }
  for (const auto& parameter : subject.method->parameters()) {
    const auto acts_on = [&](const char* part) { return parameter.site.find(part) != std::string::npos; };
    // Terms of the scan have the shape of A, and the scan sums the gradient of the whole of A in registers.
    for (const char* part : {".A_log", ".extra_states", ".param_transform", ".state_offset_tuning", ".ssmpeft"}) {
      if (acts_on(part)) trained.insert({sizes.d_inner(), sizes.d_state});
    }
    if (acts_on(".conv1d")) trained.insert({sizes.d_inner(), sizes.d_conv});
  }
  // LoRAs on slices of one projection are computed as one, whose A has the ranks of all.
  std::map<std::string, std::vector<int64_t>> joint_A;
  for (const auto& parameter : subject.method->parameters()) {
    if (!parameter.name.ends_with("lora_A.weight")) continue;
    auto& shape = joint_A[parameter.site.substr(0, parameter.site.rfind("proj"))];
    shape = {(shape.empty() ? 0 : shape[0]) + parameter.tensor.size(0), parameter.tensor.size(1)};
  }
  for (const auto& [projection, shape] : joint_A) trained.insert(shape);
  const at::Tensor loss = train::token_loss_sum(subject.model, batch_of_step(1));
  const auto computed = computed_shapes(storages, [&] { loss.backward(); });
  EXPECT_GT(computed.size(), 5U);  // the backward was seen
  for (const auto& shape : frozen) {
    const auto it = computed.find(shape);
    EXPECT_TRUE(it == computed.end() || trained.contains(shape)) << at::IntArrayRef(shape) << " by " << it->second;
  }
}

TEST_P(EveryPeftMethod, MergesExactlyOrSaysWhyNot) {
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  const at::Tensor adapted = logits_of(subject.model);
  const std::string obstacle = subject.method->merge_obstacle(subject.model);
  if (!obstacle.empty()) {
    try {
      subject.method->merge(subject.model);
      FAIL() << "merged in spite of: " << obstacle;
    } catch (const ConfigError& e) {
      EXPECT_THAT(e.what(), ::testing::HasSubstr(obstacle));
    }
    EXPECT_TRUE(at::equal(adapted, logits_of(subject.model)));  // nothing has changed
    expect_exported_state(subject, adapted);
    return;
  }
  subject.method->merge(subject.model);
  EXPECT_TRUE(subject.method->parameters().empty());
  EXPECT_LE(relative_difference(logits_of(subject.model), adapted), 1e-5);
  // What is left is a plain checkpoint.
  const test::TemporaryFolder folder;
  model::save_model(subject.model, folder / "merged");
  auto merged = model::make_model((folder / "merged").string(), /*seed=*/0).model;
  EXPECT_LE(relative_difference(logits_of(merged), adapted), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(All, EveryPeftMethod, ::testing::ValuesIn(all_cases()),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace mpeft::peft
