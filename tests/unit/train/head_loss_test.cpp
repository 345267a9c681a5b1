#include "train/head_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/utils.h>

#include "mpeft/model/precision.h"

#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

constexpr int64_t kRows = 23;

/// y + x A^T B^T on the head, through plain autograd.
class PlainLowRank : public torch::nn::Module, public model::ProjectionAdapter {
 public:
  PlainLowRank(int64_t in_features, int64_t out_features) {
    A = register_parameter("A", at::randn({3, in_features}) * 0.3);
    B = register_parameter("B", at::randn({out_features, 3}) * 0.3);
  }
  at::Tensor forward(const at::Tensor& x, at::Tensor y) override {
    const auto dtype = x.scalar_type();
    return y + at::matmul(at::matmul(x, A.to(dtype).t()), B.to(dtype).t());
  }
  at::Tensor weight_delta() const override { return at::mm(B, A); }
  at::Tensor A, B;
};

struct Head {
  model::MambaLM model{nullptr};
  std::vector<at::Tensor> trained;
};

enum class Kind { kFrozen, kTrainedWeight, kAdapter };

Head make_head(Kind kind, at::ScalarType dtype) {
  torch::manual_seed(11);
  Head head{test::make_tiny_model(), {}};
  auto& projection = head.model->lm_head;
  if (kind == Kind::kTrainedWeight) projection->weight.set_requires_grad(true);  // tied to the embedding
  if (kind == Kind::kAdapter) {
    auto adapter = std::make_shared<PlainLowRank>(24, 61);
    projection->attach("lm_head", adapter, adapter);
  }
  // rounded to dtype once, so that the fp64 twin has the same weights
  model::place_parameters(head.model, at::kCPU, dtype);
  for (auto& parameter : head.model->parameters()) {
    if (parameter.requires_grad()) head.trained.push_back(parameter);
  }
  return head;
}

Head twin_of(Kind kind, at::ScalarType dtype) {
  Head head = make_head(kind, dtype);
  model::place_parameters(head.model, at::kCPU, at::kDouble);
  return head;
}

struct Result {
  at::Tensor loss;
  std::vector<at::Tensor> gradients;  // of hidden, then of what trains
};

using Loss = std::function<at::Tensor(model::MambaLM&, const at::Tensor&, const at::Tensor&)>;

Result run(Head head, at::ScalarType dtype, at::ScalarType rounded_to, const Loss& loss) {
  auto generator = at::detail::createCPUGenerator(5);
  const auto hidden = at::randn({kRows, 24}, generator, at::kFloat).to(rounded_to).to(dtype).detach().requires_grad_();
  const auto labels = at::randint(61, {kRows}, generator, at::kLong);
  std::vector<at::Tensor> inputs{hidden};
  inputs.insert(inputs.end(), head.trained.begin(), head.trained.end());
  const auto value = loss(head.model, hidden, labels);
  return {value.detach(), torch::autograd::grad({value * 0.37}, inputs)};
}

at::Tensor plain_loss(model::MambaLM& model, const at::Tensor& hidden, const at::Tensor& labels) {
  const auto logits = model->forward_head(hidden);
  return at::cross_entropy_loss(logits.to(logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat), labels, {},
                                at::Reduction::Sum);
}

double relative_error(const at::Tensor& a, const at::Tensor& truth) {
  const auto x = a.to(at::kDouble), y = truth.to(at::kDouble);
  return (x - y).norm().item<double>() / y.norm().item<double>();
}

class HeadLossTest : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Heads, HeadLossTest, ::testing::Values(Kind::kFrozen, Kind::kTrainedWeight, Kind::kAdapter),
                         [](const auto& test) {
                           return test.param == Kind::kFrozen          ? "Frozen"
                                  : test.param == Kind::kTrainedWeight ? "TrainedWeight"
                                                                       : "Adapter";
                         });

TEST_P(HeadLossTest, EqualsThePlainLossHoweverTheRowsAreCut) {
  for (const auto dtype : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto truth = run(twin_of(GetParam(), dtype), at::kDouble, dtype, plain_loss);
    const auto plain = run(make_head(GetParam(), dtype), dtype, dtype, plain_loss);
    for (const int64_t rows_at_once : {1, 5, 22, 23, 100}) {
      SCOPED_TRACE(std::string(toString(dtype)) + ", " + std::to_string(rows_at_once) + " rows at once");
      const auto ours =
          run(make_head(GetParam(), dtype), dtype, dtype, [&](auto& model, const auto& hidden, const auto& labels) {
            return head_loss_sum(model, hidden, labels, rows_at_once);
          });
      EXPECT_LE(relative_error(ours.loss, truth.loss), 2 * relative_error(plain.loss, truth.loss) + 1e-7);
      ASSERT_EQ(ours.gradients.size(), truth.gradients.size());
      for (size_t i = 0; i < truth.gradients.size(); ++i) {
        EXPECT_EQ(ours.gradients[i].scalar_type(), plain.gradients[i].scalar_type());
        EXPECT_LE(relative_error(ours.gradients[i], truth.gradients[i]),
                  2 * relative_error(plain.gradients[i], truth.gradients[i]) + 1e-7)
            << "gradient " << i;
      }
    }
  }
}

TEST_P(HeadLossTest, WithoutAGraphTheLossIsTheSame) {
  auto head = make_head(GetParam(), at::kFloat);
  const auto hidden = at::randn({kRows, 24}), labels = at::randint(61, {kRows}, at::kLong);
  const auto with_graph = head_loss_sum(head.model, hidden.detach().requires_grad_(), labels, 5);
  EXPECT_TRUE(with_graph.requires_grad());
  const at::NoGradGuard no_grad;
  const auto without = head_loss_sum(head.model, hidden, labels, 5);
  EXPECT_FALSE(without.requires_grad());
  EXPECT_NEAR(without.item<double>(), with_graph.item<double>(), 1e-5);
}

TEST_P(HeadLossTest, RefusesASecondDerivative) {
  auto head = make_head(GetParam(), at::kFloat);
  const auto hidden = at::randn({kRows, 24}).requires_grad_(), labels = at::randint(61, {kRows}, at::kLong);
  const auto second = [&] {
    const auto loss = head_loss_sum(head.model, hidden, labels, 5);
    torch::autograd::grad({loss}, {hidden}, {}, true, /*create_graph=*/true)[0].sum().backward();
  };
  EXPECT_THROW(second(), std::exception);
}

TEST(FrozenHeadLossTest, WithFrozenHiddenThereIsNoGraph) {
  auto head = make_head(Kind::kFrozen, at::kFloat);
  EXPECT_FALSE(head_loss_sum(head.model, at::randn({4, 24}), at::zeros({4}, at::kLong)).requires_grad());
}

}  // namespace
}  // namespace mpeft::train
