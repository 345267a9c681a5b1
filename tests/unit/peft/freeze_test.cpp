#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/trainable_report.h"

#include "support/temporary_folder.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using ::testing::HasSubstr;

const at::Tensor& some_ids() {
  static const at::Tensor ids = at::tensor({3, 17, 60, 5, 5, 41, 8, 0, 22}, at::kLong).unsqueeze(0);
  return ids;
}

std::string freeze_json(const std::string& names) {
  return R"({"peft_type": "LAYER_FREEZE", "trainable_layers": )" + names + "}";
}

// What trains in layer 1 and outside the layers; every layer is treated alike.
std::vector<std::string> trained_names(const std::string& json) {
  auto model = test::make_tiny_model();
  make_peft_method(json, "t.json")->inject(model, 0);
  std::vector<std::string> names;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad() && item.key().find("layers.0") == std::string::npos) names.push_back(item.key());
  }
  return names;
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

TEST(LayerFreezeTest, ANameIsAComponentOrADottedSuffix) {
  const std::string layer = "backbone.layers.1.", mixer = layer + "mixer.";
  using Names = std::vector<std::string>;
  EXPECT_EQ(trained_names(freeze_json(R"(["A_log"])")), Names{mixer + "A_log"});
  EXPECT_EQ(trained_names(freeze_json(R"(["D", "norm.weight", "norm_f.weight"])")),
            (Names{layer + "norm.weight", mixer + "D", "backbone.norm_f.weight"}));
  EXPECT_EQ(trained_names(freeze_json(R"(["dt_proj"])")), (Names{mixer + "dt_proj.weight", mixer + "dt_proj.bias"}));
  EXPECT_EQ(trained_names(freeze_json(R"(["conv1d.bias"])")), Names{mixer + "conv1d.bias"});
  EXPECT_EQ(trained_names(freeze_json(R"(["x_proj_B", "x_proj_dt"])")),
            (Names{mixer + "x_proj.x_proj_dt.weight", mixer + "x_proj.x_proj_B.weight"}));
  // Slices that make up the whole train as the whole.
  EXPECT_EQ(trained_names(freeze_json(R"(["x_proj_B", "x_proj_C", "x_proj_dt"])")), Names{mixer + "x_proj.weight"});
  EXPECT_EQ(trained_names(freeze_json(R"(["x_proj", "x_proj_B"])")), Names{mixer + "x_proj.weight"});
  EXPECT_EQ(trained_names(freeze_json(R"(["embedding"])")), Names{"backbone.embeddings.weight"});
}

// In full fine-tuning as well as in place; what a method adds has the decay that the method says.
TEST(TrainedParametersTest, WeightDecayLeavesBiasesNormsAndTheStateSpaceAlone) {
  for (const std::string& json :
       {std::string(), freeze_json(R"(["mixer", "norm", "norm_f"])"), std::string(R"({"peft_type": "BITFIT"})"),
        std::string(R"({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "bias": "all",
                                                  "target_modules": ["in_proj"], "modules_to_save": ["norm_f"]})")}) {
    auto model = test::make_tiny_model();
    auto method = json.empty() ? nullptr : make_peft_method(json, "t.json");
    if (method) method->inject(model, 0);
    if (!method) {
      for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    }
    size_t n_kept = 0;
    for (const auto& parameter : trained_parameters(model, method.get())) {
      const auto is_named = [&](const char* end) { return parameter.name.ends_with(end); };
      const bool kept = is_named(".bias") || is_named("norm.weight") || is_named("norm_f.weight") ||
                        is_named(".A_log") || is_named(".D");
      EXPECT_EQ(parameter.weight_decay, !kept) << parameter.name << " " << json;
      n_kept += kept ? 1 : 0;
    }
    EXPECT_GT(n_kept, 0U) << json;
  }
}

TEST(LayerFreezeTest, RowsTrainAsTheyDoInTheWholeWeight) {
  auto rows = test::make_tiny_model(), whole = test::make_tiny_model(), base = test::make_tiny_model();
  make_peft_method(freeze_json(R"(["x_proj_dt", "x_proj_C"])"), "t.json")->inject(rows, 0);
  make_peft_method(freeze_json(R"(["x_proj"])"), "t.json")->inject(whole, 0);
  for (auto* model : {&rows, &whole}) model::place_parameters(*model, at::kCPU, at::kDouble);
  const at::Tensor a = rows->forward(some_ids()), b = whole->forward(some_ids());
  EXPECT_TRUE(at::equal(a, b));
  (a * at::cos(a)).sum().backward();
  (b * at::cos(b)).sum().backward();
  const auto parts = rows->named_parameters(), all = whole->named_parameters();
  for (const std::string layer : {"0", "1"}) {
    const std::string parent = "backbone.layers." + layer + ".mixer.x_proj.";
    const at::Tensor gradient = all[parent + "weight"].grad();  // (2 + 8 + 8, 48): dt, B, C
    EXPECT_TRUE(at::allclose(parts[parent + "x_proj_dt.weight"].grad(), gradient.narrow(0, 0, 2), 1e-12, 1e-14));
    EXPECT_TRUE(at::allclose(parts[parent + "x_proj_C.weight"].grad(), gradient.narrow(0, 10, 8), 1e-12, 1e-14));
    EXPECT_FALSE(parts[parent + "weight"].grad().defined());
  }
  // The rows are counted once, in the base.
  EXPECT_EQ(report_trainable(rows).n_total, report_trainable(base).n_total);
  EXPECT_EQ(report_trainable(rows).n_trainable, 2 * 10 * 48);
}

TEST(LayerFreezeTest, MergedRowsAreInTheWeight) {
  auto model = test::make_tiny_model();
  const auto method = make_peft_method(freeze_json(R"(["in_proj_z"])"), "t.json");
  method->inject(model, 0);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : method->parameters()) parameter.tensor.mul_(1.5);
  const at::Tensor adapted = model->forward(some_ids());
  method->merge(model);
  EXPECT_TRUE(at::equal(model->forward(some_ids()), adapted));
  auto base = test::make_tiny_model();
  const at::Tensor before = base->backbone->layers[0]->mixer->in_proj->weight,
                   after = model->backbone->layers[0]->mixer->in_proj->weight;
  EXPECT_TRUE(at::equal(after.narrow(0, 0, 48), before.narrow(0, 0, 48)));
  EXPECT_TRUE(at::equal(after.narrow(0, 48, 48), before.narrow(0, 48, 48) * 1.5));
}

TEST(LayerFreezeTest, ValuesKeepTheirPrecisionOnACheckpointOfBfloat16) {
  const test::TemporaryFolder folder;
  const auto narrow_base = [] {
    auto model = test::make_tiny_model();
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.set_data(parameter.to(at::kBFloat16));
    return model;
  };
  auto model = narrow_base(), again = narrow_base();
  const auto method = make_peft_method(freeze_json(R"(["A_log", "x_proj_B"])"), "t.json");
  method->inject(model, 0);
  model::place_parameters(model, at::kCPU, at::kBFloat16);
  const torch::NoGradGuard no_grad;
  for (auto& parameter : method->parameters()) parameter.tensor.add_(1e-4);  // less than bfloat16 can tell
  save_adapter(*method, "base", folder / "adapter");
  const auto loaded = load_adapter(again, folder / "adapter");
  const auto a = method->parameters(), b = loaded->parameters();
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
}

TEST(LayerFreezeTest, ErrorsNameTheNearest) {
  EXPECT_THAT(message_of(R"({"peft_type": "LAYER_FREEZE", "trainable_layers": ["D"], "trainable_layers": ["A_log"]})"),
              HasSubstr("t.json: the key 'trainable_layers' is there twice"));
  EXPECT_EQ(message_of(freeze_json(R"(["A_lgo", "D"])")),
            "t.json: trainable_layers: 'A_lgo' matches no parameter (did you mean 'A_log'?)");
  EXPECT_THAT(message_of(freeze_json(R"(["x_proj_b"])")), HasSubstr("did you mean 'x_proj_B'?"));
  EXPECT_THAT(message_of(freeze_json(R"(["og"])")), HasSubstr("'og' matches no parameter"));  // no substrings
  EXPECT_THAT(message_of(freeze_json(R"(["layers.7.mixer.D"])")), HasSubstr("(did you mean 'layers.0.mixer.D'?)"));
  EXPECT_THAT(message_of(freeze_json(R"(["attention_heads"])")), HasSubstr("matches no parameter; here are: "));
  EXPECT_THAT(message_of(freeze_json(R"(["lm_head"])")), HasSubstr("tied to the embedding"));
  EXPECT_THAT(message_of(R"({"peft_type": "LAYER_FREEZE"})"), HasSubstr("trainable_layers: missing"));
  EXPECT_THAT(message_of(R"({"peft_type": "LAYER_FREEZE", "trainable_layer": ["D"]})"),
              HasSubstr("trainable_layer: unknown field (did you mean 'trainable_layers'?)"));
}

TEST(BitFitTest, TrainsTheBiasesOfTheNamedModules) {
  const std::string mixer = "backbone.layers.1.mixer.";
  EXPECT_EQ(trained_names(R"({"peft_type": "BITFIT", "target_modules": ["conv1d", "dt_proj"]})"),
            (std::vector<std::string>{mixer + "conv1d.bias", mixer + "dt_proj.bias"}));
  EXPECT_EQ(trained_names(R"({"peft_type": "BITFIT", "target_modules": ["dt_proj"]})"),
            std::vector<std::string>{mixer + "dt_proj.bias"});
}

TEST(BitFitTest, ErrorsNameTheModulesThatHaveABias) {
  EXPECT_EQ(message_of(R"({"peft_type": "BITFIT", "target_modules": ["dt_poj"]})"),
            "t.json: target_modules: 'dt_poj' matches no module with a bias (did you mean 'dt_proj'?); those of this "
            "model: conv1d, dt_proj");
  EXPECT_THAT(message_of(R"({"peft_type": "BITFIT", "target_modules": ["in_proj"]})"),
              HasSubstr("'in_proj' matches no module with a bias"));
}

}  // namespace
}  // namespace mpeft::peft
