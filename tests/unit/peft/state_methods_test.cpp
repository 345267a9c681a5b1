// The methods that act on what the convolution and the scan read, against the recurrence in plain fp64 steps.

#include <cmath>
#include <functional>

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/precision.h"
#include "mpeft/peft/adapter.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/peft/trainable_report.h"

#include "support/plain_mixer.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kInner = 48, kStates = 8;

at::Tensor wave(std::vector<int64_t> shape, double phase) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.61 + phase).view(shape);
}

void randomize(const PeftMethod& method) {
  const torch::NoGradGuard no_grad;
  double phase = 1;
  for (auto& parameter : method.parameters())
    parameter.tensor.add_(wave(parameter.tensor.sizes().vec(), phase++) * 0.4);
}

const at::Tensor& some_ids() {
  static const at::Tensor ids = at::tensor({3, 17, 60, 5, 41, 8, 0, 22, 9, 30, 1, 1, 2, 59}, at::kLong).view({2, 7});
  return ids;
}

struct Adapted {
  model::MambaLM model{nullptr};
  std::unique_ptr<PeftMethod> method;

  explicit Adapted(const std::string& json, at::ScalarType dtype = at::kDouble, bool random = true) {
    model = test::make_tiny_model();
    method = make_peft_method(json, "t.json");
    method->inject(model, 7);
    if (random) randomize(*method);
    model::place_parameters(model, at::kCPU, dtype);
    model->eval();
  }

  // The parameter of layer 0 whose name ends so.
  at::Tensor parameter(const std::string& ending) const {
    for (const auto& p : method->parameters()) {
      if (p.name.find("layers.0.") != std::string::npos && p.name.ends_with("." + ending)) return p.tensor;
    }
    throw Error(ExitCode::kInternal, "no parameter " + ending);
  }

  model::MambaMixerImpl& mixer() { return *model->backbone->layers[0]->mixer; }
};

at::Tensor stepwise(model::MambaLM& model, const at::Tensor& ids, int64_t prompt) {
  model::InferenceCache cache;
  std::vector<at::Tensor> parts = {model->forward_hidden(ids.narrow(1, 0, prompt), {}, &cache)};
  for (int64_t t = prompt; t < ids.size(1); ++t)
    parts.push_back(model->forward_hidden(ids.narrow(1, t, 1), {}, &cache));
  return at::cat(parts, 1);
}

std::vector<std::string> state_examples() {
  std::vector<std::string> all;
  for (const char* name :
       {"SSMPEFT", "STATE_OFFSET_TUNING", "PARAM_TRANSFORM", "PROMPT_TUNING", "AFFIX_TUNING", "ADDITIONAL_SCAN"}) {
    for (auto& example : peft_method_examples(name)) all.push_back(std::move(example));
  }
  // All of them at once.
  all.push_back(R"({"peft_type": "COMPOSITE", "adapters": [
    {"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 3},
    {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 2},
    {"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}, "conv_init_state": true,
     "state_to_y": {"type": "transform", "scale": true, "bias": true}},
    {"peft_type": "AFFIX_TUNING", "num_virtual_tokens": 2},
    {"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING"},
    {"peft_type": "PARAM_TRANSFORM", "parameters": ["B", "C"], "scale_shape": ["d", "n"], "bias_shape": ["n"]},
    {"peft_type": "LORA", "r": 2, "target_modules": ["x_proj_B", "in_proj_x"]}]})");
  // Tokens first: the initial state is added to what they leave.
  all.push_back(R"({"peft_type": "COMPOSITE", "adapters": [
    {"peft_type": "AFFIX_TUNING", "num_virtual_tokens": 2},
    {"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 2},
    {"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}, "conv_init_state": true,
     "state_to_y": {"type": "transform", "scale": true}}]})");
  return all;
}

TEST(StateMethodsTest, TokenByTokenEqualsReadingAtOnceForEveryVariant) {
  const torch::NoGradGuard no_grad;
  for (const auto& example : state_examples()) {
    Adapted adapted(example, at::kFloat);
    auto plain = test::make_tiny_model();
    const at::Tensor at_once = adapted.model->forward_hidden(some_ids());
    EXPECT_FALSE(at::allclose(at_once, plain->forward_hidden(some_ids()), 1e-3, 1e-3)) << example;
    for (const int64_t prompt : {1, 2, 5})
      EXPECT_TRUE(at::allclose(stepwise(adapted.model, some_ids(), prompt), at_once, 5e-4, 5e-4)) << example;
  }
}

TEST(StateMethodsTest, PaddedRowsEqualThoseReadAlone) {
  const torch::NoGradGuard no_grad;
  for (const auto& example : state_examples()) {
    Adapted adapted(example);
    const at::Tensor lengths = at::tensor({2, 7}, at::kInt), next = at::tensor({4, 4}, at::kLong).view({2, 1});
    model::InferenceCache padded;
    adapted.model->forward_hidden(some_ids(), lengths, &padded);
    const at::Tensor together = adapted.model->forward_hidden(next, {}, &padded);
    for (const int64_t row : {0, 1}) {
      model::InferenceCache alone;
      adapted.model->forward_hidden(some_ids().narrow(0, row, 1).narrow(1, 0, lengths[row].item<int>()), {}, &alone);
      const at::Tensor single = adapted.model->forward_hidden(next.narrow(0, row, 1), {}, &alone);
      EXPECT_TRUE(at::allclose(together[row], single[0], 1e-9, 1e-9)) << example;
    }
  }
}

TEST(StateMethodsTest, GradientsEqualFiniteDifferences) {
  for (const auto& example : state_examples()) {
    Adapted adapted(example);
    const auto loss = [&] {
      const at::Tensor hidden = adapted.model->forward_hidden(some_ids());
      return (hidden * wave(hidden.sizes().vec(), 0.3)).sum();
    };
    loss().backward();
    const torch::NoGradGuard no_grad;
    for (auto& parameter : adapted.method->parameters()) {
      ASSERT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
      at::Tensor flat = parameter.tensor.view({-1});
      const at::Tensor grad = parameter.tensor.grad().reshape({-1});
      const int64_t n = flat.numel();
      for (const int64_t i : {int64_t(0), n / 3, n - 1}) {
        constexpr double kStep = 1e-6;
        const double value = flat[i].item<double>();
        flat[i] = value + kStep;
        const double up = loss().item<double>();
        flat[i] = value - kStep;
        const double down = loss().item<double>();
        flat[i] = value;
        const double expected = (up - down) / (2 * kStep);
        EXPECT_NEAR(grad[i].item<double>(), expected, 1e-6 + 1e-5 * std::abs(expected))
            << parameter.name << "[" << i << "] of " << example;
      }
    }
    for (const auto& item : adapted.model->named_parameters()) {
      EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key();
    }
  }
}

TEST(StateMethodsTest, HalfPrecisionActivationsTrainFloatParameters) {
  for (const auto& example : state_examples()) {
    Adapted half(example, at::kBFloat16), full(example, at::kFloat);
    const at::Tensor hidden = half.model->forward_hidden(some_ids());
    EXPECT_EQ(hidden.scalar_type(), at::kBFloat16);
    const at::Tensor error = hidden.to(at::kFloat) - full.model->forward_hidden(some_ids());
    EXPECT_LT((error.norm() / hidden.to(at::kFloat).norm()).item<double>(), 0.05) << example;
    hidden.to(at::kFloat).pow(2).sum().backward();
    for (const auto& parameter : half.method->parameters()) {
      EXPECT_EQ(parameter.tensor.grad().scalar_type(), at::kFloat) << parameter.name;
      EXPECT_TRUE(at::isfinite(parameter.tensor.grad()).all().item<bool>()) << parameter.name;
    }
  }
}

// --- what each method computes ---

// What enters the convolution and the gate of layer 0.
struct Inputs {
  at::Tensor hidden, x, z;
  explicit Inputs(Adapted& adapted) {
    hidden = wave({6, 24}, 0.1);
    const at::Tensor xz = at::linear(hidden, adapted.mixer().in_proj->weight);
    x = xz.narrow(1, 0, kInner);
    z = xz.narrow(1, kInner, kInner);
  }
};

// Layer 0 on two copies of a text, of which the plain recurrence gives `expected`.
void expect_output(Adapted& adapted, const at::Tensor& hidden, const at::Tensor& expected) {
  const torch::NoGradGuard no_grad;
  const at::Tensor rows = hidden.unsqueeze(0).expand({2, -1, -1}).contiguous();
  const at::Tensor ours = adapted.mixer().forward(rows, std::nullopt, nullptr);
  for (const int64_t row : {0, 1}) EXPECT_TRUE(at::allclose(ours[row], expected, 1e-9, 1e-9));
}

TEST(SsmPeftTest, StartsFromItsStates) {
  const torch::NoGradGuard no_grad;
  Adapted adapted(R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "random"},
                      "conv_init_state": true, "conv_init_state_init": "one"})");
  const Inputs in(adapted);
  test::MixerVariant variant;
  variant.initial_state = adapted.parameter("initial_state");
  variant.conv_state = adapted.parameter("conv_state");
  expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
}

TEST(SsmPeftTest, ReadsTransformedStates) {
  const torch::NoGradGuard no_grad;
  Adapted adapted(R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}, "state_to_y":
    {"type": "transform", "scale": true, "bias": true, "scale_C": true, "bias_C": true}})");
  const Inputs in(adapted);
  test::MixerVariant variant;
  variant.initial_state = adapted.parameter("initial_state");
  variant.state = [&](const at::Tensor& h) { return h * adapted.parameter("scale") + adapted.parameter("bias"); };
  variant.C = [&](const at::Tensor& C) { return C * adapted.parameter("scale_C") + adapted.parameter("bias_C"); };
  expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
}

TEST(SsmPeftTest, StatesAreNeverDecayed) {
  Adapted adapted(R"({"peft_type": "SSMPEFT", "scan_state": {"type": "init_state", "init": "zero"},
                      "conv_init_state": true, "state_to_y": {"type": "transform", "scale_C": true}})");
  int64_t n_decayed = 0;
  for (const auto& parameter : adapted.method->parameters()) {
    EXPECT_EQ(parameter.weight_decay, parameter.name.ends_with("scale_C")) << parameter.name;
    n_decayed += parameter.weight_decay ? 1 : 0;
  }
  EXPECT_EQ(n_decayed, 2);
}

TEST(StateOffsetTest, AddsTheOffsetWhereCReadsTheState) {
  const torch::NoGradGuard no_grad;
  for (const bool low_rank : {false, true}) {
    Adapted adapted(mpeft::str(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING")",
                               low_rank ? R"(, "r": 3, "r_ratio": 2})" : "}"));
    const Inputs in(adapted);
    // The low-rank product is (24, 16), read row by row as (48, 8).
    const at::Tensor offset =
        low_rank ? at::mm(adapted.parameter("lora_B"), adapted.parameter("lora_A")).view({kInner, kStates})
                 : adapted.parameter("state_offset.weight");
    test::MixerVariant variant;
    variant.state = [&](const at::Tensor& h) { return h + offset; };
    expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
  }
}

TEST(StateOffsetTest, OutputTuningAddsBeforeTheGate) {
  const torch::NoGradGuard no_grad;
  Adapted adapted(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING", "init": "random"})");
  const Inputs in(adapted);
  test::MixerVariant variant;
  variant.output_offset = adapted.parameter("output_offset");
  expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
}

TEST(StateTableTest, DropoutZeroesWholeColumnsOfTheRightFactor) {
  Adapted adapted(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "r": 3,
                      "dropout": 0.5})");
  adapted.model->train();
  adapted.model->forward_hidden(some_ids()).pow(2).sum().backward();
  const at::Tensor columns = adapted.parameter("lora_A").grad().abs().sum(0) == 0;  // (d_state)
  EXPECT_GT(columns.sum().item<int64_t>(), 0);
  EXPECT_LT(columns.sum().item<int64_t>(), kStates);
  adapted.model->eval();
  EXPECT_TRUE(at::equal(adapted.model->forward_hidden(some_ids()), adapted.model->forward_hidden(some_ids())));
}

TEST(ParamTransformTest, ScalesAndShiftsPerChannelAndState) {
  const torch::NoGradGuard no_grad;
  for (const char* shape : {R"(["d", "n"])", R"("dn", "r": 2, "r_ratio": 2)", R"("d")", R"(["n"])", R"(["b", "l"])"}) {
    const std::string text = shape;
    const std::string axes = text.substr(0, text.find(", \"r\""));
    Adapted adapted(mpeft::str(R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["C", "B"], "bias_shape": )", axes,
                               R"(, "scale_shape": )", text, "}"));
    const Inputs in(adapted);
    const auto table = [&](const std::string& name) {
      if (axes == text) return adapted.parameter(name + ".weight");
      const at::Tensor product = at::mm(adapted.parameter(name + ".lora_B"), adapted.parameter(name + ".lora_A"));
      return product.view({kInner, kStates}) + (name.ends_with("scale") ? 1.0 : 0.0);
    };
    test::MixerVariant variant;
    variant.B = [&](const at::Tensor& B) { return (B * table("B.scale") + table("B.bias")).expand({kInner, kStates}); };
    variant.C = [&](const at::Tensor& C) { return (C * table("C.scale") + table("C.bias")).expand({kInner, kStates}); };
    expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
  }
}

TEST(AffixTest, EqualsReadingTheTokensAndDroppingTheirOutputs) {
  const torch::NoGradGuard no_grad;
  for (const int64_t n : {1, 3, 5}) {
    Adapted inner(mpeft::str(R"({"peft_type": "AFFIX_TUNING", "num_virtual_tokens": )", n, "}"));
    const Inputs in(inner);
    const at::Tensor x = at::cat({inner.parameter("prefix"), in.x}), z = at::cat({wave({n, kInner}, 3), in.z});
    expect_output(inner, in.hidden, test::plain_mixer(inner.mixer(), x, z).narrow(0, n, 6));

    Adapted outer(mpeft::str(R"({"peft_type": "AFFIX_TUNING", "prefix_type": "outer_single_prefix",
                                 "num_virtual_tokens": )",
                             n, "}"));
    const at::Tensor xz = at::linear(at::cat({outer.parameter("prefix"), in.hidden}), outer.mixer().in_proj->weight);
    expect_output(
        outer, in.hidden,
        test::plain_mixer(outer.mixer(), xz.narrow(1, 0, kInner), xz.narrow(1, kInner, kInner)).narrow(0, n, 6));
  }
}

TEST(AdditionalScanTest, StartsFromTheLastColumnAndIsMamba) {
  const torch::NoGradGuard no_grad;
  const std::string json = R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 3})";
  Adapted fresh(json, at::kDouble, /*random=*/false);
  const at::Tensor& A_log = fresh.mixer().A_log;
  EXPECT_TRUE(at::equal(fresh.parameter("A_log"), A_log.narrow(1, kStates - 1, 1).expand({kInner, 3})));
  const at::Tensor rows = fresh.parameter("x_proj_rows");
  EXPECT_EQ(rows.narrow(0, 3, 3).abs().max().item<double>(), 0.0);
  EXPECT_NEAR(rows.narrow(0, 0, 3).abs().max().item<double>(), 1 / std::sqrt(48.0), 0.01);

  Adapted adapted(json);
  const Inputs in(adapted);
  const at::Tensor weight = adapted.mixer().x_proj->weight, extra = adapted.parameter("x_proj_rows");
  const int64_t dt_rank = weight.size(0) - 2 * kStates;
  test::MixerVariant variant;
  variant.A_log = at::cat({adapted.mixer().A_log, adapted.parameter("A_log")}, 1);
  variant.x_proj = at::cat({weight.narrow(0, 0, dt_rank + kStates), extra.narrow(0, 0, 3),
                            weight.narrow(0, dt_rank + kStates, kStates), extra.narrow(0, 3, 3)});
  expect_output(adapted, in.hidden, test::plain_mixer(adapted.mixer(), in.x, in.z, variant));
}

TEST(AdditionalScanTest, MergesAlsoUnderAnAdapterOfXProj) {
  const torch::NoGradGuard no_grad;
  for (const char* order : {"first", "last"}) {
    const std::string scan = R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 3})";
    const std::string lora = R"({"peft_type": "LORA", "r": 2, "target_modules": ["x_proj_C", "out_proj"]})";
    const bool first = std::string(order) == "first";
    Adapted adapted(
        mpeft::str(R"({"peft_type": "COMPOSITE", "adapters": [)", first ? scan : lora, ", ", first ? lora : scan, "]}"),
        at::kFloat);
    const at::Tensor before = adapted.model->forward_hidden(some_ids());
    adapted.method->merge(adapted.model);
    EXPECT_TRUE(adapted.method->parameters().empty());
    EXPECT_EQ(adapted.model->config().d_state, kStates + 3);
    EXPECT_TRUE(at::allclose(adapted.model->forward_hidden(some_ids()), before, 1e-4, 1e-5)) << order;
    for (const auto& item : adapted.model->named_parameters()) {
      EXPECT_EQ(item.key().find("extra"), std::string::npos);
      EXPECT_EQ(item.key().find("lora"), std::string::npos);
    }
  }
}

TEST(StateFileTest, PromptsAffixesAndInitialStatesAreSsmPeftStates) {
  const torch::NoGradGuard no_grad;
  for (const char* json :
       {R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4})", R"({"peft_type": "AFFIX_TUNING"})",
        R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}})"}) {
    Adapted adapted(json, at::kFloat);
    auto other = test::make_tiny_model();
    const auto states = make_peft_method(
        R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state"}, "conv_init_state": true})", "states.json");
    states->inject(other, 0);
    load_parameters(*states, adapted.method->export_state(adapted.model), "states");
    EXPECT_TRUE(at::allclose(other->forward_hidden(some_ids()), adapted.model->forward_hidden(some_ids()), 1e-5, 1e-5))
        << json;
    EXPECT_THROW(adapted.method->merge(adapted.model), ConfigError);
  }
}

TEST(StateMethodsTest, CountsEqualTheBudgets) {
  struct Case {
    const char* json;
    std::vector<double> percent;  // of base and adapter: 130m, 1.4b, 2.8b
  };
  const std::vector<Case> cases = {
      {R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}})", {0.455, 0.229, 0.189}},
      {R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state"}, "conv_init_state": true})", {0.540, 0.272, 0.224}},
      {R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING"})", {0.455, 0.229, 0.189}},
      {R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING"})", {0.0285, 0.0143, 0.0118}},
      {R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 8})", {0.68, 0.343, 0.283}},
      {R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 6})", {0.512, 0.257, 0.213}},
      {R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 64})", {0.0380, 0.00955, 0.00592}},
      {R"({"peft_type": "AFFIX_TUNING"})", {0.0856, 0.0430, 0.0355}}};
  const std::pair<int64_t, int64_t> sizes[] = {{768, 24}, {2048, 48}, {2560, 64}};
  for (size_t i = 0; i < 3; ++i) {
    model::MambaConfig config;
    std::tie(config.d_model, config.n_layer) = sizes[i];
    for (const auto& [json, percent] : cases) {
      model::MambaLM model(config);  // allocated, never touched
      make_peft_method(json, "t")->inject_shapes(model);
      EXPECT_NEAR(100 * report_trainable(model).share(), percent[i], 0.006 * percent[i]) << json << config.d_model;
    }
  }
}

TEST(StateMethodsTest, ErrorsSayWhatToDo) {
  const auto message = [](const std::string& json) -> std::string {
    try {
      auto model = test::make_tiny_model();
      make_peft_method(json, "t.json")->inject(model, 0);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT"})"), HasSubstr("nothing would train"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "scan": {"type": "init_stat"}})"),
              HasSubstr("t.json: scan: type: expected init_state, got 'init_stat'"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "scan": {"init": "zeros"}})"),
              HasSubstr("t.json: scan: init: expected zero, one or random, got 'zeros'"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "scan": {"init": "zero", "hidden_dim": 4}})"),
              HasSubstr("hidden_dim: this value is not supported"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "scan": "init_state"})"), HasSubstr("expected an object"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "state_to_y": {"type": "prev_state"}})"),
              HasSubstr("reads the state of the step before"));
  EXPECT_THAT(message(R"({"peft_type": "SSMPEFT", "state_to_y": {"type": "transform"}})"),
              HasSubstr("state_to_y: scale: none of"));
  EXPECT_THAT(message(R"({"peft_type": "STATE_OFFSET_TUNING"})"), HasSubstr("tuning_mode: expected"));
  EXPECT_THAT(message(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING", "r": 2})"),
              HasSubstr("leave r out"));
  EXPECT_THAT(message(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "dropout": 0.1})"),
              HasSubstr("dropout: has no effect without r"));
  EXPECT_THAT(message(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "r": 2,
                          "r_ratio": 7})"),
              HasSubstr("r_ratio: 7 does not divide 48 channels"));
  EXPECT_THAT(message(R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING",
                          "finetune_parameters": ["A_lgo"]})"),
              HasSubstr("finetune_parameters: 'A_lgo' ends the name of no frozen parameter (did you mean"));
  EXPECT_THAT(message(R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["D"], "bias_shape": "dn"})"),
              HasSubstr("expected B and C, got 'D'"));
  EXPECT_THAT(message(R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B"]})"), HasSubstr("nothing would train"));
  EXPECT_THAT(message(R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B"], "bias_shape": ["dx"]})"),
              HasSubstr("expected axes of \"bdnl\""));
  EXPECT_THAT(message(R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B"], "bias_shape": "n", "r": 2})"),
              HasSubstr("bias_shape: a product of low rank needs both axes"));
  EXPECT_THAT(message(R"({"peft_type": "PROMPT_TUNING"})"), HasSubstr("num_virtual_tokens: missing"));
  EXPECT_THAT(message(R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "prompt_tuning_init": "TEXT"})"),
              HasSubstr("SAMPLE_VOCAB starts from embeddings"));
  EXPECT_THAT(message(R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 3, "token_dim": 25})"),
              HasSubstr("the adapter's embeddings have 25 values, this model's have 24"));
  EXPECT_THAT(message(R"({"peft_type": "AFFIX_TUNING", "prefix_type": "suffix"})"),
              HasSubstr("expected inner_single_prefix or outer_single_prefix"));
  EXPECT_THAT(message(R"({"peft_type": "AFFIX_TUNING", "prefix_projection": true})"), HasSubstr("not supported"));
  EXPECT_THAT(message(R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 250})"),
              HasSubstr("8 + 250 states are more than the scan's 256"));
}

}  // namespace
}  // namespace mpeft::peft
