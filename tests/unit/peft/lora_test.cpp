#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/target.h"
#include "mpeft/peft/trainable_report.h"

#include "peft/low_rank.h"
#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using test::logits_of;
using test::some_ids;

using ::testing::HasSubstr;

std::string lora_json(const std::string& targets, const std::string& more = "") {
  return R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": )" + targets + more + "}";
}

void randomize(const PeftMethod& method) {
  const torch::NoGradGuard no_grad;
  int64_t seed = 1;
  for (auto& [name, tensor, site, lr_scale, weight_decay] : method.parameters()) {
    tensor.copy_(
        at::sin(at::arange(tensor.numel(), at::kFloat) * 0.37 + static_cast<double>(seed++)).view(tensor.sizes()) *
        0.1);
  }
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(LowRankTest, GradientsEqualThoseOfPlainOperations) {
  const auto make = [] {
    const auto values = [](std::vector<int64_t> shape, double phase) {
      const int64_t n = c10::multiply_integers(shape);
      return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).view(shape).set_requires_grad(true);
    };
    return std::vector<at::Tensor>{values({2, 5, 9}, 0), values({7, 9}, 1), values({3, 9}, 2), values({4, 3}, 3)};
  };
  const auto ours = make(), plain = make();
  const at::Tensor a = add_low_rank(at::linear(ours[0], ours[1]), ours[0], {{ours[2], ours[3], 1.7, 2}}, 0.0);
  const at::Tensor low = at::linear(at::linear(plain[0], plain[2]), plain[3]) * 1.7;
  const at::Tensor b = at::linear(plain[0], plain[1]) + at::constant_pad_nd(low, {2, 1});
  EXPECT_TRUE(at::allclose(a, b, 1e-12, 1e-12));
  (a * at::cos(a)).sum().backward();
  (b * at::cos(b)).sum().backward();
  for (size_t i = 0; i < ours.size(); ++i)
    EXPECT_TRUE(at::allclose(ours[i].grad(), plain[i].grad(), 1e-10, 1e-12)) << i;
}

// Two pairs of different rank and scale with rows between them that belong to neither.
TEST(LowRankTest, PairsTogetherEqualEachAlone) {
  const auto make = [] {
    const auto values = [](std::vector<int64_t> shape, double phase) {
      const int64_t n = c10::multiply_integers(shape);
      return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).view(shape).set_requires_grad(true);
    };
    return std::vector<at::Tensor>{values({2, 5, 9}, 0), values({11, 9}, 1), values({3, 9}, 2),
                                   values({4, 3}, 3),    values({2, 9}, 4),  values({3, 2}, 5)};
  };
  const auto joined = make(), apart = make();
  const auto base = [](const std::vector<at::Tensor>& t) { return at::linear(t[0], t[1]); };
  const at::Tensor a =
      add_low_rank(base(joined), joined[0], {{joined[4], joined[5], 0.6, 7}, {joined[2], joined[3], 1.7, 1}}, 0.0);
  const at::Tensor one = add_low_rank(base(apart), apart[0], {{apart[2], apart[3], 1.7, 1}}, 0.0);
  const at::Tensor b = add_low_rank(one, apart[0], {{apart[4], apart[5], 0.6, 7}}, 0.0);
  EXPECT_TRUE(at::allclose(a, b, 1e-12, 1e-12));
  (a * at::cos(a)).sum().backward();
  (b * at::cos(b)).sum().backward();
  for (size_t i = 0; i < joined.size(); ++i)
    EXPECT_TRUE(at::allclose(joined[i].grad(), apart[i].grad(), 1e-10, 1e-12)) << i;
}

TEST(LowRankTest, PairsTogetherSeeTheSameDroppedInput) {
  const at::Tensor x = at::ones({64, 32}, at::kDouble);
  const at::Tensor A = at::ones({1, 32}, at::kDouble), B = at::ones({1, 1}, at::kDouble);
  const at::Tensor y = add_low_rank(at::zeros({64, 2}, at::kDouble), x, {{A, B, 1.0, 0}, {A, B, 1.0, 1}}, 0.5);
  EXPECT_TRUE(at::equal(y.select(1, 0), y.select(1, 1)));
  EXPECT_GT(y.std().item<double>(), 1.0);
}

TEST(LowRankTest, DropoutScalesTheSurvivorsInForwardAndBackward) {
  const at::Tensor x = at::ones({64, 32}, at::kDouble).set_requires_grad(true);
  const at::Tensor A = at::ones({1, 32}, at::kDouble), B = at::ones({1, 1}, at::kDouble);
  const at::Tensor y = add_low_rank(at::zeros({64, 1}, at::kDouble), x, {{A, B, 1.0, 0}}, 0.25);
  y.sum().backward();
  EXPECT_NEAR(y.mean().item<double>(), 32.0, 2.0);
  const at::Tensor survivors = x.grad();  // 0 or 1 / 0.75
  EXPECT_TRUE(
      at::logical_or(survivors == 0, at::isclose(survivors, at::full({}, 1 / 0.75, at::kDouble))).all().item<bool>());
  EXPECT_TRUE(at::allclose(survivors.sum(1, true), y));
}

TEST(LoraTest, IsIdentityAtInitAndTrainsExactlyItsTensors) {
  auto model = test::make_tiny_model();
  const at::Tensor before = logits_of(model);
  const auto method =
      make_peft_method(lora_json(R"(["in_proj_x", "x_proj_B", "out_proj", "embedding", "lm_head"])"), "t.json");
  method->inject(model, 7);
  EXPECT_TRUE(at::equal(before, logits_of(model)));
  std::vector<std::string> trainable;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad()) trainable.push_back(item.key());
  }
  EXPECT_EQ(trainable.size(), 2U + 2U * 2U * 3U + 2U);
  EXPECT_EQ(method->parameters().size(), trainable.size());
  for (const auto& name : trainable) EXPECT_THAT(name, HasSubstr("lora_"));
}

TEST(LoraTest, CountsEqualThePublishedBudgets) {
  const auto count = [](const std::string& targets, int64_t r) {
    model::MambaLM model(model::MambaConfig{});  // 130m
    make_peft_method(R"({"peft_type": "LORA", "r": )" + std::to_string(r) + R"(, "target_modules": )" + targets + "}",
                     "t")
        ->inject(model, 0);
    return report_trainable(model);
  };
  const auto all =
      count(R"(["in_proj_x", "in_proj_z", "out_proj", "dt_proj", "x_proj_C", "x_proj_B", "x_proj_dt"])", 8);
  EXPECT_EQ(all.n_trainable, 2531328);
  EXPECT_EQ(all.n_total, 129135360 + 2531328);
  EXPECT_NEAR(100 * all.share(), 1.92, 0.005);
  EXPECT_NEAR(100 * count(R"(["in_proj_x", "in_proj_z", "out_proj"])", 8).share(), 1.02, 0.005);
  EXPECT_NEAR(100 * count(R"(["out_proj"])", 8).share(), 0.34, 0.005);
  EXPECT_NEAR(100 * count(R"(["out_proj", "x_proj_dt", "x_proj_B", "x_proj_C", "dt_proj"])", 2).share(), 0.32, 0.005);
}

TEST(LoraTest, MergedModelGivesTheAdaptedLogits) {
  auto model = test::make_tiny_model();
  const at::Tensor base = logits_of(model);
  const auto method = make_peft_method(lora_json(R"(["in_proj_z", "x_proj_C", "dt_proj", "out_proj"])"), "t.json");
  method->inject(model, 7);
  randomize(*method);
  const at::Tensor adapted = logits_of(model);
  EXPECT_GT((adapted - base).norm().item<double>(), 1e-2);
  method->merge(model);
  EXPECT_TRUE(at::allclose(logits_of(model), adapted, 1e-4, 1e-5));
  for (const auto& item : model->named_parameters()) EXPECT_EQ(item.key().find("lora_"), std::string::npos);
}

TEST(LoraTest, RefusesToMergeIntoATiedWeight) {
  for (const char* target : {R"(["embeddings"])", R"(["lm_head"])"}) {
    auto model = test::make_tiny_model();
    const auto method = make_peft_method(lora_json(target), "t.json");
    method->inject(model, 7);
    randomize(*method);
    const at::Tensor before = logits_of(model);
    EXPECT_THAT(message_of([&] { method->merge(model); }), HasSubstr("share one weight"));
    EXPECT_TRUE(at::equal(before, logits_of(model)));  // nothing was merged
  }
}

TEST(LoraTest, SavedAdapterGivesTheSameLogitsBitForBit) {
  const test::TemporaryFolder folder;
  auto model = test::make_tiny_model();
  const auto method = make_peft_method(
      lora_json(R"(["in_proj", "x_proj", "embeddings"])", R"(, "use_rslora": true, "bias": "all")"), "t.json");
  method->inject(model, 7);
  randomize(*method);
  save_adapter(*method, "some/base", folder / "adapter");
  auto again = test::make_tiny_model();
  load_adapter(again, folder / "adapter");
  EXPECT_TRUE(at::equal(logits_of(model), logits_of(again)));
  const auto saved = checkpoint::read_safetensors(folder / "adapter/adapter_model.safetensors");
  EXPECT_TRUE(saved.contains("base_model.model.backbone.layers.1.mixer.in_proj.lora_A.weight"));
  EXPECT_TRUE(saved.contains("base_model.model.backbone.embeddings.lora_embedding_B"));
  EXPECT_TRUE(saved.contains("base_model.model.backbone.layers.0.mixer.conv1d.bias"));
}

TEST(LoraTest, PatternsGiveTargetsTheirOwnRankAndAlpha) {
  auto model = test::make_tiny_model();
  const auto method = make_peft_method(
      lora_json(
          R"("all-linear")",
          R"(, "rank_pattern": {"layers.1.mixer.in_proj": 5}, "alpha_pattern": {"dt_proj": 1}, "layers_to_transform": [1])"),
      "t.json");
  method->inject(model, 7);
  for (const auto& [name, tensor, site, lr_scale, weight_decay] : method->parameters()) {
    EXPECT_THAT(name, HasSubstr("layers.1."));
    if (name.find("lora_A") != std::string::npos) {
      EXPECT_EQ(tensor.size(0), name.find(".in_proj.") != std::string::npos ? 5 : 3) << name;
    }
  }
  EXPECT_EQ(method->parameters().size(), 8U);
}

TEST(LoraTest, ErrorsSayWhatToDo) {
  const auto inject = [](const std::string& json) {
    return message_of([&] {
      auto model = test::make_tiny_model();
      make_peft_method(json, "t.json")->inject(model, 0);
    });
  };
  EXPECT_EQ(inject(lora_json(R"(["out_prj"])")),
            "t.json: target_modules: 'out_prj' matches no module (did you mean 'out_proj'?)");
  EXPECT_THAT(inject(lora_json(R"(["in_proj", "in_proj_x"])")),
              HasSubstr("in_proj_x is part of backbone.layers.0.mixer.in_proj"));
  EXPECT_THAT(inject(lora_json(R"(["out_proj"])", R"(, "lora_alhpa": 3)")),
              HasSubstr("lora_alhpa: unknown field (did you mean 'lora_alpha'?)"));
  EXPECT_THAT(inject(lora_json(R"(["out_proj"])", R"(, "lora_bias": true)")),
              HasSubstr("lora_bias: this value is not supported"));
  EXPECT_THAT(inject(R"({"peft_type": "LORRA"})"), HasSubstr("unknown method 'LORRA' (did you mean 'LORA'?)"));
  EXPECT_THAT(inject(lora_json(R"("(a+)+$x")")), HasSubstr("matches no module"));
  EXPECT_EQ(inject(lora_json(R"(".*\\.q_proj")")),
            "t.json: target_modules: '.*\\.q_proj' matches no module (did you mean 'x_proj'?); paths look like "
            "backbone.layers.0.mixer.in_proj");
  EXPECT_EQ(
      inject(lora_json(R"(["layers.2.mixer.in_proj"])")),
      "t.json: target_modules: 'layers.2.mixer.in_proj' matches no module (did you mean 'layers.0.mixer.in_proj'?)");
  EXPECT_EQ(
      inject(lora_json(R"(["attention"])")),
      "t.json: target_modules: 'attention' matches no module; here are: embeddings, in_proj, in_proj_x, in_proj_z, "
      "conv1d, x_proj, x_proj_dt, x_proj_B, x_proj_C, dt_proj, out_proj, lm_head");
  EXPECT_EQ(inject(lora_json(R"(["out_proj"])", R"(, "layers_to_transform": [1, 9])")),
            "t.json: layers_to_transform: 9 is not a layer: the model has 0 to 1");
  EXPECT_EQ(inject(lora_json(R"(["out_proj", "in_proj"])", R"(, "exclude_modules": ["in_proj"])")),
            "t.json: target_modules: 'in_proj' matches modules, but none that layers_to_transform and exclude_modules "
            "leave");
  EXPECT_EQ(inject(lora_json(R"("in_proj|.*in_proj")", R"(, "exclude_modules": ".*in_proj")")),
            "t.json: target_modules: 'in_proj|.*in_proj' matches modules, but none that layers_to_transform and "
            "exclude_modules leave");
  EXPECT_THAT(inject("{\n  \"r\": 8;\n}"), HasSubstr("t.json:2:9: not valid JSON: syntax error"));
  EXPECT_THAT(inject(lora_json(R"(["out_proj"])", R"(, "modules_to_save": ["lm_head"])")),
              HasSubstr("tied to the embedding"));
  EXPECT_THAT(inject(lora_json(R"(["out_proj"])", R"(, "modules_to_save": ["norm_g"])")),
              HasSubstr("modules_to_save: 'norm_g' matches no module with parameters (did you mean 'norm_f'?)"));
}

// PEFT takes a pattern that acts on nothing for none. It is most often a mistyped one: an error, but not in a saved
// adapter.
TEST(LoraTest, PatternsThatMatchNothingAreErrors) {
  const auto inject = [](const std::string& more) {
    return message_of([&] {
      auto model = test::make_tiny_model();
      make_peft_method(lora_json(R"(["in_proj", "out_proj"])", more), "t.json")->inject(model, 7);
    });
  };
  EXPECT_EQ(inject(R"(, "rank_pattern": {"in_porj": 3}, "alpha_pattern": {"layers.0.mixer.out_proj": 3, "x_proj": 1})"),
            "t.json: rank_pattern: 'in_porj' matches none of the targets (did you mean 'in_proj'?)\n"
            "t.json: alpha_pattern: 'x_proj' matches none of the targets (did you mean 'in_proj'?)");
  EXPECT_EQ(inject(R"(, "rank_pattern": {"(": 3})"),
            "t.json: rank_pattern: '(' is not a regular expression (error at character 2)");
  EXPECT_EQ(inject(R"(, "exclude_modules": ["0.mixer.out_porj"])"),
            "t.json: exclude_modules: '0.mixer.out_porj' matches no module (did you mean '0.mixer.out_proj'?)");
  EXPECT_EQ(inject(R"(, "exclude_modules": ".*q_proj")"),
            "t.json: exclude_modules: '.*q_proj' matches no module; paths look like backbone.layers.0.mixer.in_proj");
  EXPECT_EQ(inject(R"(, "inference_mode": true, "exclude_modules": ["q_proj"], "rank_pattern": {"q_proj": 3})"),
            "no error");
}

TEST(AdapterTest, RefusesValuesThatAreNoNumbersOfAnAdapter) {
  auto model = test::make_tiny_model();
  const auto method = make_peft_method(lora_json(R"(["out_proj"])"), "t.json");
  method->inject(model, 7);
  checkpoint::TensorMap values;
  for (const auto& parameter : method->parameters()) values[parameter.name] = parameter.tensor.detach().to(at::kLong);
  EXPECT_THAT(message_of([&] { load_parameters(*method, values, "adapter"); }),
              HasSubstr("adapter: base_model.model.backbone.layers.0.mixer.out_proj.lora_A.weight: expected "
                        "floating-point values, found Long"));
}

TEST(AdapterTest, NamesEveryTensorThatDoesNotFit) {
  const test::TemporaryFolder folder;
  auto model = test::make_tiny_model();
  const auto method = make_peft_method(lora_json(R"(["out_proj"])"), "t.json");
  method->inject(model, 7);
  save_adapter(*method, "base", folder / "adapter");
  auto tensors = checkpoint::read_safetensors(folder / "adapter/adapter_model.safetensors");
  checkpoint::TensorMap changed;
  for (const auto& [name, tensor] : tensors) changed[name] = tensor.clone();
  changed.erase("base_model.model.backbone.layers.0.mixer.out_proj.lora_A.weight");
  changed["base_model.model.backbone.layers.1.mixer.out_proj.lora_B.weight"] = at::zeros({1, 2});
  changed["stranger"] = at::zeros({1});
  tensors.clear();
  checkpoint::write_safetensors(folder / "adapter/adapter_model.safetensors", changed);
  auto other = test::make_tiny_model();
  const std::string message = message_of([&] { load_adapter(other, folder / "adapter"); });
  EXPECT_THAT(message, HasSubstr("1 missing, 1 unexpected, 1 of another shape"));
  EXPECT_THAT(message, HasSubstr("missing     base_model.model.backbone.layers.0.mixer.out_proj.lora_A.weight"));
  EXPECT_THAT(message, HasSubstr("expected [24, 3], found [1, 2]"));
  EXPECT_THAT(message, HasSubstr("unexpected  stranger"));
}

}  // namespace
}  // namespace mpeft::peft
