#include "mpeft/optim/adamw.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/optim/schedule.h"

namespace mpeft::optim {
namespace {

std::vector<TrainedParameter> two_tensors() {
  return {{"a", at::arange(6, at::kFloat).view({2, 3}).set_requires_grad(true)},
          {"b", at::full({5}, -0.5, at::kFloat).set_requires_grad(true)}};
}

void give_gradients(const std::vector<TrainedParameter>& parameters, int step) {
  for (const auto& [name, parameter, lr_scale, weight_decay] : parameters) {
    at::Tensor gradient =
        at::sin(at::arange(parameter.numel(), at::kFloat) + static_cast<double>(step)).view(parameter.sizes());
    auto& existing = parameter.mutable_grad();
    if (existing.defined()) {
      existing.add_(gradient);
    } else {
      existing = gradient;
    }
  }
}

TEST(AdamWTest, FollowsTheFormulaInDoublePrecisionWithClippingAndWeightDecay) {
  AdamWOptions options;
  options.weight_decay = 0.1;
  options.max_grad_norm = 0.7;
  const auto parameters = two_tensors();
  std::vector<double> x;
  for (const auto& parameter : parameters) {
    const at::Tensor flat = parameter.tensor.detach().flatten().to(at::kDouble);
    for (int64_t i = 0; i < flat.numel(); ++i) x.push_back(flat[i].item<double>());
  }
  std::vector<double> m(x.size(), 0), v(x.size(), 0);
  AdamW optimizer(parameters, options);
  for (int step = 1; step <= 5; ++step) {
    give_gradients(parameters, step);
    std::vector<double> g;
    for (const int64_t n : {6, 5}) {
      for (int64_t i = 0; i < n; ++i) g.push_back(std::sin(static_cast<double>(i + step)));
    }
    double norm = 0;
    for (const double value : g) norm += value * value;
    norm = std::sqrt(norm);
    const double clip = std::min(1.0, options.max_grad_norm / (norm + 1e-6));
    const double learning_rate = 0.01 * step;
    for (size_t i = 0; i < x.size(); ++i) {
      const double gradient = g[i] * clip;
      m[i] = 0.9 * m[i] + 0.1 * gradient;
      v[i] = 0.999 * v[i] + 0.001 * gradient * gradient;
      x[i] -= learning_rate * options.weight_decay * x[i];
      x[i] -=
          learning_rate * (m[i] / (1 - std::pow(0.9, step))) / (std::sqrt(v[i] / (1 - std::pow(0.999, step))) + 1e-8);
    }
    const at::Tensor measured = optimizer.gradient_norm();
    EXPECT_NEAR(measured.item<double>(), norm, 1e-5 * norm);
    optimizer.step(learning_rate, measured);
  }
  size_t i = 0;
  for (const auto& parameter : parameters) {
    const at::Tensor flat = parameter.tensor.detach().flatten();
    for (int64_t k = 0; k < flat.numel(); ++k, ++i)
      EXPECT_NEAR(flat[k].item<double>(), x[i], 2e-6) << parameter.name << " " << k;
  }
}

TEST(AdamWTest, DividesByTheLossScale) {
  const auto plain = two_tensors(), scaled = two_tensors();
  AdamW a(plain, {}), b(scaled, {});
  give_gradients(plain, 1);
  give_gradients(scaled, 1);
  for (const auto& parameter : scaled) parameter.tensor.mutable_grad().mul_(1024.0);
  a.step(0.01, a.gradient_norm());
  b.step(0.01, b.gradient_norm(1024.0), 1024.0);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::allclose(plain[i].tensor, scaled[i].tensor, 1e-6, 1e-7));
}

TEST(AdamWTest, LeavesEverythingAsItIsWhenTheNormIsNotFinite) {
  const auto parameters = two_tensors();
  AdamW optimizer(parameters, {});
  give_gradients(parameters, 1);
  parameters[1].tensor.mutable_grad()[2] = std::numeric_limits<float>::infinity();
  const at::Tensor before = parameters[0].tensor.detach().clone();
  optimizer.step(0.01, optimizer.gradient_norm());
  EXPECT_TRUE(at::equal(before, parameters[0].tensor));
  EXPECT_EQ(optimizer.state().at("step").item<double>(), 0.0);
  EXPECT_EQ(parameters[0].tensor.grad().abs().sum().item<double>(), 0.0);
}

TEST(AdamWTest, ContinuesBitForBitFromItsState) {
  const auto whole = two_tensors(), resumed = two_tensors();
  AdamW a(whole, {});
  for (int step = 1; step <= 3; ++step) {
    give_gradients(whole, step);
    a.step(0.01, a.gradient_norm());
  }
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < whole.size(); ++i) resumed[i].tensor.copy_(whole[i].tensor);
  }
  AdamW b(resumed, {});
  b.load_state(a.state());
  for (auto* pair : {&whole, &resumed}) give_gradients(*pair, 4);
  a.step(0.01, a.gradient_norm());
  b.step(0.01, b.gradient_norm());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(at::equal(whole[i].tensor, resumed[i].tensor));
}

// One optimizer with three kinds of parameters moves each as an optimizer of that kind alone does.
TEST(AdamWTest, GivesEachParameterItsOwnLearningRateAndWeightDecay) {
  const auto make = [] {
    std::vector<TrainedParameter> parameters;
    for (const auto& [name, lr_scale, weight_decay] :
         {std::tuple{"a", 16.0, true}, {"b", 1.0, true}, {"c", 16.0, false}, {"d", 1.0, true}, {"e", 1.0, false}}) {
      const at::Tensor values = at::cos(at::arange(7, at::kFloat) + static_cast<double>(name[0]));
      parameters.push_back({name, values.set_requires_grad(true), lr_scale, weight_decay});
    }
    return parameters;
  };
  AdamWOptions options;
  options.weight_decay = 0.2;
  options.max_grad_norm = 0;
  const auto together = make(), resumed = make();
  AdamW all(together, options);
  for (int step = 1; step <= 3; ++step) {
    give_gradients(together, step);
    all.step(0.01, all.gradient_norm());
  }
  for (const auto& expected : make()) {
    AdamWOptions own = options;
    if (!expected.weight_decay) own.weight_decay = 0;
    AdamW alone({{expected.name, expected.tensor}}, own);
    for (int step = 1; step <= 3; ++step) {
      give_gradients({expected}, step);
      alone.step(0.01 * expected.lr_scale, alone.gradient_norm());
    }
    for (const auto& parameter : together) {
      if (parameter.name != expected.name) continue;
      EXPECT_TRUE(at::equal(parameter.tensor, expected.tensor)) << expected.name;
    }
  }
  {  // and its state continues bit for bit
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < together.size(); ++i) resumed[i].tensor.copy_(together[i].tensor);
  }
  AdamW again(resumed, options);
  again.load_state(all.state());
  for (const auto* parameters : {&together, &resumed}) give_gradients(*parameters, 4);
  all.step(0.01, all.gradient_norm());
  again.step(0.01, again.gradient_norm());
  for (size_t i = 0; i < together.size(); ++i) EXPECT_TRUE(at::equal(together[i].tensor, resumed[i].tensor));
}

TEST(AdamWTest, NamesWhatItsStateLacks) {
  const auto parameters = two_tensors();
  AdamW optimizer(parameters, {});
  auto state = optimizer.state();
  state.erase("exp_avg.b");
  try {
    optimizer.load_state(state);
    FAIL() << "an incomplete state was accepted";
  } catch (const CheckpointError& e) {
    EXPECT_STREQ(e.what(), "optimizer state: exp_avg.b is missing");
  }
}

TEST(ScheduleTest, RisesThenFallsToZero) {
  const Schedule linear{Schedule::Shape::kLinear, 1.0, 4, 12};
  EXPECT_DOUBLE_EQ(linear.at(0), 0.0);
  EXPECT_DOUBLE_EQ(linear.at(2), 0.5);
  EXPECT_DOUBLE_EQ(linear.at(4), 1.0);
  EXPECT_DOUBLE_EQ(linear.at(8), 0.5);
  EXPECT_DOUBLE_EQ(linear.at(12), 0.0);
  const Schedule cosine{Schedule::Shape::kCosine, 2.0, 0, 10};
  EXPECT_DOUBLE_EQ(cosine.at(0), 2.0);
  EXPECT_NEAR(cosine.at(5), 1.0, 1e-12);
  EXPECT_NEAR(cosine.at(10), 0.0, 1e-12);
  EXPECT_DOUBLE_EQ((Schedule{Schedule::Shape::kConstant, 3.0, 2, 10}).at(9), 3.0);
  EXPECT_THROW(schedule_shape_from_string("liner"), ConfigError);
}

}  // namespace
}  // namespace mpeft::optim
