// Our model against transformers' MambaForCausalLM and an fp64 implementation, on the weights of
// tests/golden/model/tiny (scripts/golden/model.py).

#include <cstdlib>

#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/factory.h"
#include "mpeft/model/precision.h"

namespace mpeft::model {
namespace {

double relative_error(const at::Tensor& ours, const at::Tensor& truth) {
  const at::Tensor exact = truth.to(at::kDouble);
  return (at::linalg_vector_norm(ours.to(at::kDouble) - exact) / at::linalg_vector_norm(exact)).item<double>();
}

std::string folder() {
  const char* name = std::getenv("MPEFT_MODEL_PARITY_FOLDER");
  return name != nullptr ? name : MPEFT_TEST_GOLDEN_DIR "/model/tiny";
}

MambaLM load(at::ScalarType dtype, bool trains) {
  auto model = make_model(folder(), 0).model;
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(trains);
  place_parameters(model, at::kCPU, dtype);
  return model;
}

checkpoint::TensorMap cases() { return checkpoint::read_safetensors(folder() + "/cases.safetensors"); }

/// Positions that are not padding: (batch, seqlen) bool.
at::Tensor real_tokens(const checkpoint::TensorMap& golden) {
  const at::Tensor& ids = golden.at("ids");
  at::Tensor mask = at::zeros(ids.sizes(), at::kBool);
  for (int64_t row = 0; row < ids.size(0); ++row) {
    mask[row].narrow(0, 0, golden.at("lengths")[row].item<int64_t>()).fill_(true);
  }
  return mask;
}

struct Precision {
  at::ScalarType dtype;
  std::string suffix;  ///< of the golden tensors
  double logits_tolerance;
  double grad_tolerance;
};

class ModelParity : public testing::TestWithParam<Precision> {};

TEST_P(ModelParity, LogitsLossAndEveryGradient) {
  const auto& precision = GetParam();
  const auto golden = cases();
  const auto& suffix = precision.suffix;
  if (!golden.contains("loss" + suffix)) GTEST_SKIP() << "no fp64 values in " << folder();
  auto model = load(precision.dtype, /*trains=*/true);
  const at::Tensor logits = model->forward_head(model->forward_hidden(golden.at("ids"), golden.at("lengths")));
  const at::Tensor mask = real_tokens(golden);
  EXPECT_LE(relative_error(logits.detach().index({mask}), golden.at("logits" + suffix).index({mask})),
            precision.logits_tolerance);

  const at::Tensor loss = at::cross_entropy_loss(logits.flatten(0, 1), golden.at("labels").flatten());
  const double truth = golden.at("loss" + suffix).item<double>();
  EXPECT_NEAR(loss.item<double>(), truth, precision.logits_tolerance * truth);

  loss.backward();
  int64_t n_gradients = 0;
  for (const auto& item : model->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_LE(relative_error(item.value().grad(), golden.at(str("grad", suffix, ".", item.key()))),
              precision.grad_tolerance)
        << item.key();
    ++n_gradients;
  }
  EXPECT_EQ(n_gradients, 2 + 10 * model->config().n_layer);  // embedding, final norm, ten a layer
}

std::string case_name(const testing::TestParamInfo<Precision>& parameter) {
  return to_string(parameter.param.dtype) + (parameter.param.suffix.empty() ? "AgainstTransformers" : "AgainstFp64");
}

INSTANTIATE_TEST_SUITE_P(Dtype, ModelParity,
                         testing::Values(Precision{at::kFloat, "", 1e-5, 1e-4}, Precision{at::kFloat, "64", 1e-5, 1e-4},
                                         Precision{at::kDouble, "64", 1e-11, 1e-10}),
                         case_name);

TEST(ModelDecodingTest, StepByStepEqualsTheParallelForward) {
  const auto golden = cases();
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const at::NoGradGuard no_grad;
    auto model = load(dtype, /*trains=*/false);
    const at::Tensor ids = golden.at("ids").narrow(0, 0, 1);  // (1, seqlen), no padding
    const at::Tensor parallel = model->forward(ids);
    for (const int64_t prompt : {1, 2, 3, 4, 7}) {
      InferenceCache cache;
      std::vector<at::Tensor> parts = {model->forward_hidden(ids.narrow(1, 0, prompt), {}, &cache)};
      for (int64_t t = prompt; t < ids.size(1); ++t) {
        parts.push_back(model->forward_hidden(ids.narrow(1, t, 1), {}, &cache));
      }
      const double error = relative_error(model->forward_head(at::cat(parts, 1)), parallel);
      EXPECT_LE(error, dtype == at::kDouble ? 1e-12 : 2e-6) << "prompt of " << prompt;
    }
  }
}

TEST(ModelDecodingTest, PaddedPromptsContinueAsIfAlone) {
  const at::NoGradGuard no_grad;
  const auto golden = cases();
  auto model = load(at::kFloat, /*trains=*/false);
  InferenceCache together;
  model->forward_hidden(golden.at("ids"), golden.at("lengths"), &together);
  const at::Tensor next = at::full({golden.at("ids").size(0), 1}, 11, at::kLong);
  const at::Tensor continued = model->forward_hidden(next, {}, &together);
  for (int64_t row = 0; row < next.size(0); ++row) {
    InferenceCache alone;
    const auto length = golden.at("lengths")[row].item<int64_t>();
    model->forward_hidden(golden.at("ids").narrow(0, row, 1).narrow(1, 0, length), {}, &alone);
    const at::Tensor expected = model->forward_hidden(next.narrow(0, row, 1), {}, &alone);
    EXPECT_LE(relative_error(continued.narrow(0, row, 1), expected), 2e-6) << "row " << row;
  }
}

TEST(ModelDecodingTest, RowsFollowTheirParents) {
  const at::NoGradGuard no_grad;
  const auto golden = cases();
  auto model = load(at::kFloat, /*trains=*/false);
  InferenceCache cache;
  model->forward_hidden(golden.at("ids"), golden.at("lengths"), &cache);
  InferenceCache chosen = cache;
  const at::Tensor index = at::tensor({2, 0, 2}, at::kLong);
  chosen.select_rows(index);
  const at::Tensor tokens = at::tensor({4, 5, 6, 7}, at::kLong).unsqueeze(1);
  // Rows 0 and 2 with the same tokens as their copies get.
  const at::Tensor copies = model->forward_hidden(at::tensor({6, 4, 6}, at::kLong).unsqueeze(1), {}, &chosen);
  const at::Tensor originals = model->forward_hidden(tokens, {}, &cache);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_LE(relative_error(copies[i], originals[index[i].item<int64_t>()]), 2e-6) << "row " << i;
  }
}

}  // namespace
}  // namespace mpeft::model
