#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>

#include "kernels/registration.h"

// defines: Named, DeviceTest, seeded, relative_error, expect_as_accurate, expect_gradients_match_differences
//
// What the operator tests share. The truth is the operator itself in fp64 on the CPU, which is the plain-loop
// reference; that is in turn checked against finite differences and against plain tensor code.

namespace mpeft::ops::testing {

/// A tensor and the name to report it by.
struct Named {
  std::string name;
  at::Tensor tensor;
};

/// Runs a test on the CPU and on CUDA; skips where there is no GPU.
class DeviceTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { require(GetParam()); }
  at::Device device() const { return at::Device(GetParam()); }

  static void require(const std::string& device) {
    if (device != "cuda") return;
    if (!built_with_cuda()) GTEST_SKIP() << "built without CUDA";
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU on this machine";
  }
};

#define MPEFT_INSTANTIATE_DEVICES(suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, ::testing::Values("cpu"), [](const auto&) { return "cpu"; }); \
  INSTANTIATE_TEST_SUITE_P(Cuda, suite, ::testing::Values("cuda"), [](const auto&) { return "cuda"; })

/// Normal values that depend on the seed and the sizes alone, on the CPU in fp32.
inline at::Tensor seeded(uint64_t seed, at::IntArrayRef sizes) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(sizes, generator, at::TensorOptions().dtype(at::kFloat));
}

/// |a - truth| / |truth| in the Frobenius norm, fp64; 0 when both are zero or empty.
inline double relative_error(const at::Tensor& a, const at::Tensor& truth) {
  const auto x = a.detach().to(at::kCPU, at::kDouble), y = truth.detach().to(at::kCPU, at::kDouble);
  const double difference = (x - y).norm().item<double>(), norm = y.norm().item<double>();
  if (difference == 0) return 0;
  return difference / std::max(norm, 1e-30);
}

/// Each of ours is at most twice as far from the truth as plain tensor code in the same dtype is, plus `slack`.
inline void expect_as_accurate(const std::vector<Named>& ours, const std::vector<Named>& naive,
                               const std::vector<Named>& truth, double slack = 1e-6) {
  ASSERT_EQ(ours.size(), truth.size());
  ASSERT_EQ(naive.size(), truth.size());
  for (size_t i = 0; i < truth.size(); ++i) {
    SCOPED_TRACE(truth[i].name);
    ASSERT_TRUE(ours[i].tensor.defined());
    ASSERT_EQ(ours[i].tensor.sizes(), truth[i].tensor.sizes());
    ASSERT_EQ(ours[i].tensor.scalar_type(), naive[i].tensor.scalar_type());
    const double error = relative_error(ours[i].tensor, truth[i].tensor);
    const double bound = 2 * relative_error(naive[i].tensor, truth[i].tensor) + slack;
    EXPECT_LE(error, bound);
    EXPECT_FALSE(std::isnan(error));
  }
}

inline void expect_bitwise_equal(const std::vector<Named>& a, const std::vector<Named>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].tensor, b[i].tensor)) << a[i].name;
}

/// Central differences of a scalar function along random directions against its gradient, each input on its own; fp64.
inline void expect_gradients_match_differences(
    const std::vector<Named>& inputs, const std::function<at::Tensor(const std::vector<at::Tensor>&)>& function) {
  std::vector<at::Tensor> values;
  for (const auto& input : inputs) values.push_back(input.tensor.detach().to(at::kDouble).clone().requires_grad_());
  const auto gradients = torch::autograd::grad({function(values)}, values);
  const double step = 1e-5;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const auto direction = seeded(1000 * (i + 1) + seed, values[i].sizes()).to(at::kDouble);
      const auto at_offset = [&](double offset) {
        at::NoGradGuard no_grad;
        auto moved = values;
        moved[i] = values[i] + offset * direction;
        return function(moved).item<double>();
      };
      const double difference = (at_offset(step) - at_offset(-step)) / (2 * step);
      const double expected = (gradients[i] * direction).sum().item<double>();
      EXPECT_NEAR(difference, expected, 1e-7 * (1 + std::abs(expected))) << inputs[i].name;
    }
  }
}

}  // namespace mpeft::ops::testing
