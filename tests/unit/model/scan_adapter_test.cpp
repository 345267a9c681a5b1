// What PEFT methods can put on the mixer and on the model: adapters of the scan, extra states, prompts.

#include "mpeft/model/scan_adapter.h"

#include <functional>

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/selective_scan/selective_scan.h"
#include "mpeft/core/error.h"
#include "mpeft/model/precision.h"

#include "model/linear_with_rows.h"
#include "support/tiny_model.h"

namespace mpeft::model {
namespace {

using ::testing::HasSubstr;

at::Tensor wave(std::vector<int64_t> shape, double phase) {
  return at::sin(at::arange(c10::multiply_integers(shape), at::kDouble) * 0.61 + phase).view(shape);
}

MambaLM make_model(at::ScalarType dtype = at::kFloat) {
  auto model = test::make_tiny_model();
  place_parameters(model, at::kCPU, dtype);
  return model;
}

const at::Tensor& some_ids() {
  static const at::Tensor ids = at::tensor({3, 17, 60, 5, 41, 8, 0, 22, 9, 30, 1, 1, 2, 59}, at::kLong).view({2, 7});
  return ids;
}

// The hidden states of `ids` read at once, and token by token after a prompt of `prompt` tokens.
at::Tensor read_at_once(MambaLM& model, const at::Tensor& ids) { return model->forward_hidden(ids); }
at::Tensor read_stepwise(MambaLM& model, const at::Tensor& ids, int64_t prompt) {
  InferenceCache cache;
  std::vector<at::Tensor> parts = {model->forward_hidden(ids.narrow(1, 0, prompt), {}, &cache)};
  for (int64_t t = prompt; t < ids.size(1); ++t)
    parts.push_back(model->forward_hidden(ids.narrow(1, t, 1), {}, &cache));
  return at::cat(parts, 1);
}

struct StartAdapter : ScanAdapter, torch::nn::Module {
  int n_calls = 0;
  void change_start(MambaMixerImpl& mixer, LayerState& start, at::ScalarType dtype) override {
    ++n_calls;
    const auto d_inner = mixer.D.size(0);
    start.conv = wave({1, 3, d_inner}, 1).to(dtype);
    start.scan = wave({1, d_inner, 8}, 2).to(dtype == at::kDouble ? at::kDouble : at::kFloat);
  }
};

struct AddToALog : ScanAdapter, torch::nn::Module {
  explicit AddToALog(double amount) : amount(amount) {}
  double amount;
  at::Tensor change_A_log(const at::Tensor& A_log) override { return A_log * 0.5 + amount; }
};

TEST(ScanAdapterTest, StartIsWhereATextBeginsAndNowhereElse) {
  const torch::NoGradGuard no_grad;
  auto model = make_model(at::kDouble);
  const at::Tensor before = read_at_once(model, some_ids());
  std::vector<std::shared_ptr<StartAdapter>> adapters;
  for (auto& block : model->backbone->layers) {
    adapters.push_back(std::make_shared<StartAdapter>());
    block->mixer->attach("start", adapters.back(), adapters.back());
  }
  const at::Tensor at_once = read_at_once(model, some_ids());
  EXPECT_FALSE(at::allclose(at_once, before, 1e-3, 1e-3));
  // The same states, handed in by the caller.
  auto plain = make_model(at::kDouble);
  InferenceCache cache = model->start_state();
  EXPECT_TRUE(at::allclose(plain->forward_hidden(some_ids(), {}, &cache), at_once, 1e-12, 1e-12));
  const int calls = adapters[0]->n_calls;
  for (const int64_t prompt : {1, 2, 4})
    EXPECT_TRUE(at::allclose(read_stepwise(model, some_ids(), prompt), at_once, 1e-9, 1e-9)) << prompt;
  EXPECT_EQ(adapters[0]->n_calls, calls + 3);  // once a text
}

TEST(ScanAdapterTest, PaddingAndBatchesDoNotChangeWhatAStartDoes) {
  const torch::NoGradGuard no_grad;
  auto model = make_model(at::kDouble);
  for (auto& block : model->backbone->layers) {
    auto adapter = std::make_shared<StartAdapter>();
    block->mixer->attach("start", adapter, adapter);
  }
  const at::Tensor lengths = at::tensor({2, 7}, at::kInt);
  InferenceCache padded;
  model->forward_hidden(some_ids(), lengths, &padded);
  const at::Tensor next = at::tensor({4, 4}, at::kLong).view({2, 1});
  const at::Tensor together = model->forward_hidden(next, {}, &padded);
  for (const int64_t row : {0, 1}) {
    InferenceCache alone;
    model->forward_hidden(some_ids().narrow(0, row, 1).narrow(1, 0, lengths[row].item<int>()), {}, &alone);
    EXPECT_TRUE(at::allclose(together[row], model->forward_hidden(next.narrow(0, row, 1), {}, &alone)[0], 1e-9, 1e-9));
  }
}

TEST(ScanAdapterTest, SeveralAdaptersActInTheOrderOfAttachment) {
  const torch::NoGradGuard no_grad;
  auto model = make_model();
  auto expected = make_model();
  for (size_t i = 0; i < 2; ++i) {
    auto& mixer = *model->backbone->layers[i]->mixer;
    auto first = std::make_shared<AddToALog>(0.25), second = std::make_shared<AddToALog>(-1.0);
    mixer.attach("first", first, first);
    mixer.attach("second", second, second);
    auto& A_log = expected->backbone->layers[i]->mixer->A_log;
    A_log.copy_((A_log * 0.5 + 0.25) * 0.5 - 1.0);
  }
  EXPECT_TRUE(at::equal(read_at_once(model, some_ids()), read_at_once(expected, some_ids())));
  for (auto& block : model->backbone->layers) {
    block->mixer->detach("first");
    block->mixer->detach("second");
  }
  auto untouched = make_model();
  EXPECT_TRUE(at::equal(read_at_once(model, some_ids()), read_at_once(untouched, some_ids())));
}

TEST(ScanAdapterTest, ASecondChildOfANameIsRefused) {
  auto model = make_model();
  auto& mixer = *model->backbone->layers[0]->mixer;
  auto adapter = std::make_shared<AddToALog>(0);
  mixer.attach("same", adapter, adapter);
  EXPECT_THROW(mixer.attach("same", adapter, adapter), ConfigError);
  EXPECT_THROW(mixer.attach("in_proj", adapter, adapter), ConfigError);
  mixer.attach_extra_states(ExtraStates(48, 2));
  EXPECT_THROW(mixer.attach_extra_states(ExtraStates(48, 2)), ConfigError);
}

TEST(LinearWithRowsTest, ValuesAndGradientsEqualThoseOfPlainOperations) {
  const auto make = [] {
    return std::vector<at::Tensor>{wave({2, 3, 5}, 0).set_requires_grad(true), wave({4, 5}, 1),
                                   wave({3, 5}, 2).set_requires_grad(true)};
  };
  const auto ours = make(), plain = make();
  const at::Tensor a = linear_with_rows(ours[0], ours[1], ours[2]);
  const at::Tensor b = at::linear(plain[0], at::cat({plain[1], plain[2]}));
  EXPECT_TRUE(at::equal(a, b));
  (a * at::sin(a)).sum().backward();
  (b * at::sin(b)).sum().backward();
  EXPECT_TRUE(at::allclose(ours[0].grad(), plain[0].grad(), 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(ours[2].grad(), plain[2].grad(), 1e-12, 1e-12));
}

void attach_extra_states(MambaLM& model, int64_t n, double C_scale) {
  for (auto& block : model->backbone->layers) {
    const torch::NoGradGuard no_grad;
    ExtraStates extra(48, n);
    extra->A_log.copy_(wave({48, n}, 3));
    extra->x_proj_rows.copy_(wave({2 * n, 48}, 4));
    extra->x_proj_rows.narrow(0, n, n).mul_(C_scale);
    for (auto& parameter : extra->parameters()) parameter.set_requires_grad(true);
    block->mixer->attach_extra_states(extra);
  }
  place_parameters(model, at::kCPU, model->compute_dtype);
}

TEST(ExtraStatesTest, AreIdentityWhereTheirCIsZeroAndMergeExactly) {
  const torch::NoGradGuard no_grad;
  auto base = make_model(at::kDouble), silent = make_model(at::kDouble), loud = make_model(at::kDouble);
  attach_extra_states(silent, 3, 0.0);
  attach_extra_states(loud, 3, 1.0);
  const at::Tensor before = read_at_once(base, some_ids()), with = read_at_once(loud, some_ids());
  EXPECT_TRUE(at::allclose(read_at_once(silent, some_ids()), before, 1e-10, 1e-10));
  EXPECT_FALSE(at::allclose(with, before, 1e-3, 1e-3));
  EXPECT_TRUE(at::allclose(read_stepwise(loud, some_ids(), 2), with, 1e-9, 1e-9));

  loud->absorb_extra_states();
  EXPECT_EQ(loud->config().d_state, 11);
  EXPECT_TRUE(at::allclose(read_at_once(loud, some_ids()), with, 1e-10, 1e-10));
  // A checkpoint of that size takes these weights.
  MambaLM larger(loud->config());
  place_parameters(larger, at::kCPU, at::kDouble);
  const auto weights = loud->named_parameters();
  ASSERT_EQ(larger->named_parameters().size(), weights.size());
  for (auto& item : larger->named_parameters()) item.value().copy_(*weights.find(item.key()));
  EXPECT_TRUE(at::allclose(read_at_once(larger, some_ids()), with, 1e-10, 1e-10));
}

TEST(ExtraStatesTest, OneProjectionOrTwoGiveTheSameGradients) {
  std::vector<std::vector<at::Tensor>> gradients;
  for (const bool x_proj_trains : {false, true}) {  // a weight that trains takes the other path
    auto model = make_model(at::kDouble);
    attach_extra_states(model, 2, 1.0);
    for (auto& block : model->backbone->layers) block->mixer->x_proj->weight.set_requires_grad(x_proj_trains);
    model->forward_hidden(some_ids()).pow(2).sum().backward();
    gradients.emplace_back();
    for (auto& block : model->backbone->layers) {
      for (auto& item : block->mixer->named_parameters()) {
        if (item.key().starts_with("extra_states")) gradients.back().push_back(item.value().grad());
      }
    }
  }
  ASSERT_EQ(gradients[0].size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(at::allclose(gradients[0][i], gradients[1][i], 1e-9, 1e-10)) << i;
}

struct FixedPrompt : PromptAdapter, torch::nn::Module {
  explicit FixedPrompt(const at::Tensor& values) { tokens = register_parameter("tokens", values); }
  at::Tensor virtual_tokens(at::ScalarType dtype) override { return tokens.to(dtype); }
  at::Tensor tokens;
};

TEST(PromptTest, EqualsReadingTheTokensInEveryRow) {
  auto model = make_model(at::kDouble), plain = make_model(at::kDouble);
  const at::Tensor prompt_ids = at::tensor({7, 50, 7, 12, 33}, at::kLong);
  auto prompt = std::make_shared<FixedPrompt>(plain->backbone->embeddings->weight.index({prompt_ids}).clone());
  model->attach_prompt(prompt, prompt);
  EXPECT_THROW(model->attach_prompt(prompt, prompt), ConfigError);

  // The other model learns the embeddings of five tokens that the texts do not use.
  at::Tensor table = plain->backbone->embeddings->weight.detach().clone().set_requires_grad(true);
  plain->backbone->embeddings->weight = table;
  const at::Tensor whole = at::cat({prompt_ids.unsqueeze(0).expand({2, 5}), some_ids()}, 1);
  const at::Tensor expected = plain->forward_hidden(whole).narrow(1, 5, 7);
  const at::Tensor ours = read_at_once(model, some_ids());
  EXPECT_TRUE(at::allclose(ours, expected, 1e-10, 1e-10));
  (ours * at::sin(ours)).sum().backward();
  (expected * at::sin(expected)).sum().backward();
  const at::Tensor& grad = prompt->tokens.grad();
  for (const int64_t i : {1, 3, 4}) {
    EXPECT_TRUE(at::allclose(grad[i], table.grad()[prompt_ids[i].item<int64_t>()], 1e-9, 1e-10)) << i;
  }
  EXPECT_TRUE(at::allclose(grad[0] + grad[2], table.grad()[7], 1e-9, 1e-10));  // token 7 stands there twice

  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(at::allclose(read_stepwise(model, some_ids(), 3), expected, 1e-9, 1e-9));
  model->detach_prompt();
  EXPECT_FALSE(at::allclose(read_at_once(model, some_ids()), expected, 1e-3, 1e-3));
}

}  // namespace
}  // namespace mpeft::model
