// DoRA, PiSSA, LoRA+ and LoRA on the convolution, against their formulas written out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/peft_method.h"

#include "peft/lora_init.h"
#include "peft/lora_modules.h"
#include "peft/low_rank.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using ::testing::HasSubstr;

at::Tensor wave(std::vector<int64_t> shape, double phase) {
  const int64_t n = c10::multiply_integers(shape);
  return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).view(shape);
}

std::string message_of(const std::string& json) {
  try {
    auto model = test::make_tiny_model();
    make_peft_method(json, "t.json")->inject(model, 0);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// y = m (W + s B A) x / ||W + s B A||, the norm a constant, on rows [2, 6) of 9.
TEST(DoraTest, OutputAndGradientsEqualTheFormulas) {
  model::ProjectionOptions options(7, 9);
  options.slices = {{"part", 2, 6}};
  model::Projection projection(options);
  const LoraShape shape{/*in_features=*/7, /*out_features=*/4, /*rank=*/3, /*scale=*/1.7, /*dropout=*/0,
                        /*row_begin=*/2,   /*use_dora=*/true};
  auto module = std::make_shared<LoraProjection>(shape, projection.get());
  projection->attach("part", module, module);
  projection->to(at::kDouble);
  {
    const torch::NoGradGuard no_grad;
    projection->weight.copy_(wave({9, 7}, 0));
    module->lora_A.copy_(wave({3, 7}, 1));
    module->lora_B.copy_(wave({4, 3}, 2));
    module->lora_magnitude_vector.copy_(wave({4}, 3) + 2);
  }
  const auto leaf = [](const at::Tensor& t) { return t.detach().clone().set_requires_grad(true); };
  const at::Tensor x = leaf(wave({2, 5, 7}, 4)), other_x = leaf(x);
  const at::Tensor A = leaf(module->lora_A), B = leaf(module->lora_B), m = leaf(module->lora_magnitude_vector);
  const at::Tensor sum = projection->weight.narrow(0, 2, 4) + 1.7 * at::mm(B, A);
  const at::Tensor norm = sum.detach().norm(2, 1);
  EXPECT_TRUE(at::allclose(module->row_norms(), norm, 1e-12, 1e-14));
  const at::Tensor rows = sum * (m / norm).unsqueeze(1);
  const at::Tensor W = at::cat({projection->weight.narrow(0, 0, 2), rows, projection->weight.narrow(0, 6, 3)});
  const at::Tensor expected = at::linear(other_x, W), found = projection(x);
  EXPECT_TRUE(at::allclose(found, expected, 1e-12, 1e-13));
  (found * at::cos(found)).sum().backward();
  (expected * at::cos(expected)).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), other_x.grad(), 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(module->lora_A.grad(), A.grad(), 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(module->lora_B.grad(), B.grad(), 1e-10, 1e-12));
  EXPECT_TRUE(at::allclose(module->lora_magnitude_vector.grad(), m.grad(), 1e-10, 1e-12));
}

// PEFT's rule: the base's own part sees x, the change sees dropout(x).
TEST(DoraTest, DropoutActsOnTheChangeAlone) {
  model::Projection projection(model::ProjectionOptions(32, 4));
  const LoraShape shape{32, 4, 2, 1.0, /*dropout=*/0.5, 0, /*use_dora=*/true};
  auto module = std::make_shared<LoraProjection>(shape, projection.get());
  projection->attach("whole", module, module);
  const torch::NoGradGuard no_grad;
  projection->weight.copy_(wave({4, 32}, 0));
  module->lora_magnitude_vector.copy_(module->row_norms());  // and B is zero: no change
  const at::Tensor x = wave({3, 32}, 1).to(at::kFloat), plain = at::linear(x, projection->weight);
  projection->train();
  EXPECT_TRUE(at::allclose(projection(x), plain, 1e-5, 1e-5));
  module->lora_magnitude_vector.mul_(2);
  EXPECT_FALSE(at::allclose(projection(x), 2 * plain, 1e-3, 1e-3));
  projection->eval();
  EXPECT_TRUE(at::allclose(projection(x), 2 * plain, 1e-5, 1e-5));
}

TEST(DoraTest, OutputAndGradientsUnderDropoutEqualTheFormulas) {
  const auto leaf = [](const at::Tensor& t) { return t.to(at::kDouble).clone().set_requires_grad(true); };
  const at::Tensor x = leaf(wave({2, 5, 7}, 0)), W = leaf(wave({4, 7}, 1)), A = leaf(wave({3, 7}, 2)),
                   B = leaf(wave({4, 3}, 3)), factor = leaf(wave({4}, 4) + 1.5), y = leaf(wave({2, 5, 9}, 5));
  const double scale = 1.7, dropout = 0.4;
  at::manual_seed(3);
  const at::Tensor kept = std::get<1>(at::native_dropout(at::ones({10, 7}, x.options()), dropout, true));
  const at::Tensor d = (x.view({10, 7}) * kept / (1 - dropout)).view_as(x);
  const at::Tensor change = at::linear(d, W) * (factor - 1) + at::linear(at::linear(d, A), B) * (factor * scale);
  const at::Tensor expected = at::cat({y.narrow(-1, 0, 2), y.narrow(-1, 2, 4) + change, y.narrow(-1, 6, 3)}, -1);
  at::manual_seed(3);
  const at::Tensor found = add_dora(y.clone(), x, W, A, B, factor, scale, /*row_begin=*/2, dropout);
  EXPECT_TRUE(at::allclose(found, expected, 1e-12, 1e-13));
  const std::vector<at::Tensor> inputs{x, W, A, B, factor, y};
  const auto gradients = [&](const at::Tensor& out) {
    return torch::autograd::grad({(out * at::cos(out)).sum()}, inputs);
  };
  const auto ours = gradients(found), theirs = gradients(expected);
  for (size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(at::allclose(ours[i], theirs[i], 1e-10, 1e-12)) << i;
}

TEST(DoraTest, NormsOfAFrozenBaseFollowItWhenItMoves) {
  model::Projection projection(model::ProjectionOptions(5, 6));
  const LoraShape shape{5, 6, 2, 1.0, 0, 0, true};
  LoraProjection module(shape, projection.get());
  const torch::NoGradGuard no_grad;
  projection->weight.copy_(wave({6, 5}, 0));
  EXPECT_TRUE(at::allclose(module.row_norms(), projection->weight.norm(2, 1)));
  projection->weight.set_data((wave({6, 5}, 1) * 3).to(at::kFloat));
  EXPECT_TRUE(at::allclose(module.row_norms(), projection->weight.norm(2, 1)));
}

TEST(PissaTest, TakesThePrincipalComponentsOutOfTheBase) {
  const at::Tensor weight = wave({12, 7}, 0).square().to(at::kFloat);
  const at::Generator generator = at::detail::createCPUGenerator(1);
  const auto [A, B] = principal_components(weight, 3, /*scale=*/2.5, /*niter=*/-1, generator);
  EXPECT_EQ(A.sizes(), (std::vector<int64_t>{3, 7}));
  EXPECT_EQ(B.sizes(), (std::vector<int64_t>{12, 3}));
  // By Eckart and Young the residual's singular values are the others of the weight.
  const at::Tensor all = at::linalg_svdvals(weight), left = at::linalg_svdvals(weight - 2.5 * at::mm(B, A));
  EXPECT_TRUE(at::allclose(left.narrow(0, 0, 4), all.narrow(0, 3, 4), 1e-4, 1e-5));
  // A and B share the singular values evenly.
  EXPECT_TRUE(at::allclose(at::mm(A, A.t()), at::mm(B.t(), B), 1e-4, 1e-5));
  // The randomised decomposition finds the same components.
  const auto [fast_A, fast_B] = principal_components(weight, 3, 2.5, /*niter=*/16, generator);
  EXPECT_TRUE(at::allclose(at::mm(fast_B, fast_A), at::mm(B, A), 1e-3, 1e-4));
}

TEST(PissaTest, TheModelStaysTheSameAndTheBaseKeepsTheResidual) {
  auto model = test::make_tiny_model(), base = test::make_tiny_model();
  const auto method = make_peft_method(R"({"peft_type": "LORA", "r": 3, "lora_alpha": 6, "init_lora_weights": "pissa",
                                           "target_modules": ["in_proj_z", "out_proj"]})",
                                       "t.json");
  method->inject(model, 7);
  const auto& mixer = *model->backbone->layers[1]->mixer;
  const at::Tensor original = base->backbone->layers[1]->mixer->in_proj->weight;
  EXPECT_TRUE(at::equal(mixer.in_proj->weight.narrow(0, 0, 48), original.narrow(0, 0, 48)));
  EXPECT_GT((mixer.in_proj->weight - original).norm().item<double>(), 0.1);
  const torch::NoGradGuard no_grad;
  const at::Tensor ids = at::tensor({3, 17, 60, 5}, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::allclose(model->forward(ids), base->forward(ids), 1e-4, 1e-5));
  method->merge(model);
  EXPECT_TRUE(at::allclose(mixer.in_proj->weight, original, 1e-4, 1e-5));
}

TEST(PissaTest, ErrorsSayWhatToDo) {
  const auto json = [](const std::string& more) { return R"({"peft_type": "LORA", "r": 5, )" + more + "}"; };
  EXPECT_THAT(message_of(json(R"("init_lora_weights": "pissa", "target_modules": ["dt_proj"])")),
              HasSubstr("PiSSA of rank 5 on backbone.layers.0.mixer.dt_proj, which has 2 principal components"));
  EXPECT_THAT(message_of(json(R"("init_lora_weights": "pissa", "target_modules": ["lm_head"])")),
              HasSubstr("lm_head shares its weight with the embedding"));
  EXPECT_THAT(message_of(json(R"("init_lora_weights": "pissa", "lora_alpha": 0, "target_modules": ["in_proj"])")),
              HasSubstr("needs a positive lora_alpha"));
  for (const char* init : {"\"pisa\"", "\"pissa_niter_\"", "\"pissa_niter_x\"", "3"}) {
    EXPECT_THAT(message_of(json(R"("target_modules": ["in_proj"], "init_lora_weights": )" + std::string(init))),
                HasSubstr("init_lora_weights: expected true, false, \"gaussian\", \"pissa\""));
  }
}

TEST(LoraPlusTest, GivesBItsOwnLearningRate) {
  for (const char* key : {"loraplus_lr_ratio", "lora_plus_lr_ratio"}) {
    auto model = test::make_tiny_model();
    const auto method = make_peft_method(
        R"({"peft_type": "LORA", "r": 2, "target_modules": ["x_proj"], ")" + std::string(key) + R"(": 16})", "t.json");
    method->inject(model, 0);
    for (const auto& parameter : trained_parameters(model, method.get())) {
      EXPECT_EQ(parameter.lr_scale, parameter.name.ends_with("lora_B") ? 16.0 : 1.0) << parameter.name;
      EXPECT_TRUE(parameter.weight_decay);
    }
  }
}

TEST(LoraConvTest, ChangesTheKernelByALowRankMatrix) {
  auto model = test::make_tiny_model(), base = test::make_tiny_model();
  const auto method =
      make_peft_method(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["conv1d"]})", "t.json");
  method->inject(model, 7);
  const auto parameters = method->parameters();
  ASSERT_EQ(parameters.size(), 4U);
  EXPECT_EQ(parameters[0].name, "base_model.model.backbone.layers.0.mixer.conv1d.lora_A.weight");
  EXPECT_EQ(parameters[0].tensor.sizes(), (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(parameters[1].tensor.sizes(), (std::vector<int64_t>{48, 2}));
  const torch::NoGradGuard no_grad;
  parameters[1].tensor.copy_(wave({48, 2}, 0));
  const auto& conv = *model->backbone->layers[0]->mixer->conv1d;
  const at::Tensor expected = base->backbone->layers[0]->mixer->conv1d->weight +
                              1.5 * at::mm(parameters[1].tensor, parameters[0].tensor).unsqueeze(1);
  EXPECT_TRUE(at::allclose(conv.kernel(at::kFloat).unsqueeze(1), expected));
  method->merge(model);
  EXPECT_TRUE(at::allclose(conv.weight, expected));
  EXPECT_TRUE(model->backbone->layers[0]->mixer->conv1d->children().empty());
}

// The change of the whole projection that the exported files describe, as PEFT computes it.
at::Tensor exported_delta(const checkpoint::AdapterFolder& folder, const std::string& path, double alpha, int64_t r) {
  const std::string saved = "base_model.model." + path;
  return at::mm(folder.tensors.at(saved + ".lora_B.weight"), folder.tensors.at(saved + ".lora_A.weight")) *
         (alpha / static_cast<double>(r));
}

TEST(LoraExportTest, SlicesBecomeOneBlockDiagonalPair) {
  auto model = test::make_tiny_model(), merged = test::make_tiny_model(), base = test::make_tiny_model();
  const std::string json =
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["in_proj_x", "in_proj_z", "x_proj_B", "out_proj"],
          "alpha_pattern": {"in_proj_z": 5}})";
  const auto method = make_peft_method(json, "t.json"), other = make_peft_method(json, "t.json");
  method->inject(model, 7);
  other->inject(merged, 7);
  const torch::NoGradGuard no_grad;
  double phase = 0;
  for (size_t i = 0; i < method->parameters().size(); ++i) {
    at::Tensor a = method->parameters()[i].tensor, b = other->parameters()[i].tensor;
    a.copy_(wave(a.sizes().vec(), ++phase));
    b.copy_(a);
  }
  other->merge(merged);
  const auto exported = method->to_peft(model, "some/base");
  ASSERT_TRUE(exported.has_value());
  EXPECT_EQ(exported->tensors.size(), 2U * 2U * 3U);  // 2 layers, A and B, 3 projections
  const auto delta = [&](const std::string& name) {
    const std::string weight = "backbone.layers.1.mixer." + name + ".weight";
    return merged->named_parameters()[weight] - base->named_parameters()[weight];
  };
  const std::string mixer = "backbone.layers.1.mixer.";
  EXPECT_THAT(exported->config_json, HasSubstr(R"("rank_pattern": {
    "out_proj": 2,
    "x_proj": 2
  })"));
  EXPECT_TRUE(at::allclose(exported_delta(*exported, mixer + "in_proj", 4, 4), delta("in_proj"), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(exported_delta(*exported, mixer + "x_proj", 6, 2), delta("x_proj"), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(exported_delta(*exported, mixer + "out_proj", 6, 2), delta("out_proj"), 1e-4, 1e-5));

  // What was exported is an adapter that loads here and computes the same.
  auto again = test::make_tiny_model();
  const auto loaded = make_peft_method(exported->config_json, "exported");
  loaded->inject(again, 0);
  load_parameters(*loaded, exported->tensors, "exported");
  const at::Tensor ids = at::tensor({3, 17, 60, 5}, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::allclose(again->forward(ids), model->forward(ids), 1e-4, 1e-5));
}

TEST(LoraExportTest, PissaBecomesAnOrdinaryAdapterOfTwiceTheRank) {
  auto model = test::make_tiny_model(), again = test::make_tiny_model();
  const auto method = make_peft_method(
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "init_lora_weights": "pissa", "target_modules": ["in_proj_x", "out_proj"]})",
      "t.json");
  method->inject(model, 7);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : method->parameters()) parameter.tensor.add_(wave(parameter.tensor.sizes().vec(), 1) * 0.1);
  const auto exported = method->to_peft(model, "some/base");
  ASSERT_TRUE(exported.has_value());
  const auto loaded = make_peft_method(exported->config_json, "exported");
  loaded->inject(again, 0);
  load_parameters(*loaded, exported->tensors, "exported");
  EXPECT_EQ(loaded->parameters()[0].tensor.size(0), 4);
  const at::Tensor ids = at::tensor({3, 17, 60, 5}, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::allclose(again->forward(ids), model->forward(ids), 1e-4, 1e-5));
}

TEST(LoraExportTest, DoraOnASliceKeepsTheNormsOfTheOtherRows) {
  auto model = test::make_tiny_model(), again = test::make_tiny_model();
  const auto method = make_peft_method(
      R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true, "target_modules": ["in_proj_z"]})", "t.json");
  method->inject(model, 7);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : method->parameters()) parameter.tensor.add_(wave(parameter.tensor.sizes().vec(), 1) * 0.1);
  const auto exported = method->to_peft(model, "some/base");
  ASSERT_TRUE(exported.has_value());
  const auto loaded = make_peft_method(exported->config_json, "exported");
  loaded->inject(again, 0);
  load_parameters(*loaded, exported->tensors, "exported");
  const at::Tensor ids = at::tensor({3, 17, 60, 5}, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::allclose(again->forward(ids), model->forward(ids), 1e-4, 1e-5));
}

TEST(LoraExportTest, SeveralLorasAreOneAdapterOfPefts) {
  auto model = test::make_tiny_model(), again = test::make_tiny_model();
  const auto method = make_peft_method(
      R"({"peft_type": "COMPOSITE", "adapters": [
            {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": ["in_proj_z", "out_proj"]},
            {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": ["embeddings", "in_proj_x", "x_proj_C"]},
            {"peft_type": "LORA", "r": 1, "lora_alpha": 5, "init_lora_weights": "pissa", "target_modules": ["dt_proj"]}]})",
      "t.json");
  method->inject(model, 7);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : method->parameters()) parameter.tensor.add_(wave(parameter.tensor.sizes().vec(), 1) * 0.1);
  const auto exported = method->to_peft(model, "some/base");
  ASSERT_TRUE(exported.has_value());
  const auto loaded = make_peft_method(exported->config_json, "exported");
  EXPECT_EQ(loaded->type(), "LORA");
  loaded->inject(again, 0);
  load_parameters(*loaded, exported->tensors, "exported");
  // In each layer one pair for in_proj (of two adapters), x_proj, dt_proj and out_proj.
  EXPECT_EQ(loaded->parameters().size(), 2U + 2U * 2U * 4U);
  model->eval();
  again->eval();  // without the first one's dropout
  const at::Tensor ids = at::tensor({3, 17, 60, 5}, at::kLong).unsqueeze(0);
  EXPECT_TRUE(at::allclose(again->forward(ids), model->forward(ids), 1e-4, 1e-5));
}

TEST(LoraExportTest, WhatOneConfigurationCannotSayIsNoAdapterOfPefts) {
  const std::string plain = R"({"peft_type": "LORA", "r": 2, "target_modules": ["in_proj_x"]})";
  for (const std::string other : {R"({"peft_type": "LORA", "r": 2, "use_dora": true, "target_modules": ["out_proj"]})",
                                  R"({"peft_type": "LORA", "r": 2, "bias": "all", "target_modules": ["out_proj"]})",
                                  R"({"peft_type": "LORA", "r": 2, "target_modules": ["conv1d"]})",
                                  R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["D"]})"}) {
    auto model = test::make_tiny_model();
    const auto method =
        make_peft_method(R"({"peft_type": "COMPOSITE", "adapters": [)" + plain + ", " + other + "]}", "t.json");
    method->inject(model, 7);
    EXPECT_FALSE(method->to_peft(model, "some/base").has_value()) << other;
    EXPECT_EQ(method->merge_obstacle(model), "") << other;  // so it is exported as the weights that it changes
  }
}

TEST(LoraExportTest, PeftHasNoAdapterOnTheConvolution) {
  auto model = test::make_tiny_model();
  const auto method =
      make_peft_method(R"({"peft_type": "LORA", "r": 2, "target_modules": ["conv1d", "in_proj"]})", "t.json");
  method->inject(model, 7);
  EXPECT_FALSE(method->to_peft(model, "some/base").has_value());
  EXPECT_EQ(method->merge_obstacle(model), "");  // so it is exported as the weights that it changes
}

}  // namespace
}  // namespace mpeft::peft
