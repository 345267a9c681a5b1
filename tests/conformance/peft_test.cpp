// What every PEFT method must do, on a tiny model: what it trains, where it starts, how it is saved, exported and
// merged.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"

#include "conformance/peft_cases.h"
#include "support/temporary_folder.h"

namespace mpeft::peft::conformance {
namespace {

constexpr size_t kConfigFiles = 129;  // reference/peft_configs.tsv

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
}  // namespace mpeft::peft::conformance
