#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/common/cpu_features.h"
#include "kernels/common/half.h"
#include "kernels/vec_functions.h"

// The elementary functions every vectorised kernel is built on, in each instruction set that the processor has.

namespace mpeft::kernels {
namespace {

using Elementwise = void (*)(const float* x, float* result, int64_t n);

/// `n` numbers evenly spread over [from, to], filled up to a multiple of 16.
std::vector<float> grid(double from, double to, int64_t n = 200000) {
  std::vector<float> x;
  for (int64_t i = 0; i <= n; ++i) x.push_back(static_cast<float>(from + (to - from) * i / n));
  while (x.size() % 16 != 0) x.push_back(x.back());
  return x;
}

double largest_relative_error(const std::vector<float>& x, const std::vector<float>& results,
                              const std::function<double(double)>& truth) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = truth(x[i]);
    worst = std::max(worst, std::abs(results[i] - expected) / std::abs(expected));
  }
  return worst;
}

double largest_relative_error(double from, double to, Elementwise function, double (*truth)(double)) {
  const auto x = grid(from, to);
  std::vector<float> results(x.size());
  function(x.data(), results.data(), static_cast<int64_t>(x.size()));
  return largest_relative_error(x, results, truth);
}

float at(Elementwise function, float x) {
  const std::vector<float> all(16, x);
  std::vector<float> results(16);
  function(all.data(), results.data(), 16);
  for (const float r : results) EXPECT_TRUE(r == results[0] || std::isnan(r)) << "lanes differ";
  return results[0];
}

float exp2_of_product(const VecFunctions& f, float a, float b) {
  const std::vector<float> left(16, a), right(16, b);
  std::vector<float> results(16);
  f.exp2_of_products(left.data(), right.data(), results.data(), 16);
  return results[15];
}

struct InstructionSet {
  std::string name;
  CpuCapability needs;
  VecFunctions (*functions)();
};

class VecMath : public testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (cpu_capability() < GetParam().needs) GTEST_SKIP() << "the processor lacks " << GetParam().name;
    f_ = GetParam().functions();
  }
  VecFunctions f_{};
};

TEST_P(VecMath, PowersOfTwoAreAccurateAndSaturateExactly) {
  for (const float b : {-1.0f, -0.37f, -23.08f}) {
    for (const double to : {126.0, 1.0, 0.01}) {
      const auto a = grid(0, to / -b);
      const std::vector<float> factor(a.size(), b);
      std::vector<float> results(a.size());
      f_.exp2_of_products(a.data(), factor.data(), results.data(), static_cast<int64_t>(a.size()));
      // where the product is rounded before it is split, its error counts too
      const double bound = 2.5e-7 + to * 0x1p-25;
      EXPECT_LT(largest_relative_error(a, results, [&](double x) { return std::exp2(x * b); }), bound)
          << b << " " << to;
    }
  }
  EXPECT_EQ(exp2_of_product(f_, 0.0f, -3.0f), 1.0f);
  EXPECT_EQ(exp2_of_product(f_, 3.0f, 0.0f), 1.0f);
  EXPECT_EQ(exp2_of_product(f_, 4.0f, -2.25f), 0x1p-9f);
  for (const float a : {127.0f, 200.0f, 1e6f, 1e12f, 0x1p60f}) EXPECT_EQ(exp2_of_product(f_, a, -1.0f), 0.0f) << a;
  EXPECT_TRUE(std::isinf(exp2_of_product(f_, 64.0f, 2.0f)));
  EXPECT_TRUE(std::isnan(exp2_of_product(f_, NAN, -1.0f)));
}

TEST_P(VecMath, TheExponentialIsAccurateAtLargeArguments) {
  EXPECT_LT(largest_relative_error(-87, 88, f_.exp, std::exp), 2.5e-7);
  EXPECT_EQ(at(f_.exp, -INFINITY), 0.0f);
  EXPECT_TRUE(std::isnan(at(f_.exp, NAN)));
}

TEST_P(VecMath, SigmoidAndSoftplusAreAccurateOnBothSides) {
  const auto sigmoid_truth = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto softplus_truth = [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); };
  EXPECT_LT(largest_relative_error(-86, 90, f_.sigmoid, sigmoid_truth), 5e-7);
  EXPECT_LT(largest_relative_error(-86, 90, f_.softplus, softplus_truth), 5e-7);
  EXPECT_LT(largest_relative_error(-86, 90, f_.softplus_derivative, sigmoid_truth), 5e-7);
  EXPECT_EQ(at(f_.sigmoid, -INFINITY), 0.0f);
  EXPECT_EQ(at(f_.sigmoid, INFINITY), 1.0f);
  EXPECT_TRUE(std::isnan(at(f_.softplus, NAN)));
}

std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets{{"portable", CpuCapability::kBaseline, vec_functions_portable}};
#if defined(__x86_64__)
  sets.push_back({"avx2", CpuCapability::kAvx2, vec_functions_avx2});
  sets.push_back({"avx512", CpuCapability::kAvx512, vec_functions_avx512});
#endif
  return sets;
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, VecMath, testing::ValuesIn(instruction_sets()),
                         [](const auto& set) { return set.param.name; });

TEST(Half, EveryHalfSurvivesTheRoundTripAndFloatsRoundToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const BFloat16 bf{static_cast<uint16_t>(bits)};
    Half half_back;
    BFloat16 bf_back;
    from_acc(to_acc(half), half_back);
    from_acc(to_acc(bf), bf_back);
    if (std::isnan(to_acc(half))) {
      EXPECT_TRUE(std::isnan(to_acc(half_back)));
    } else {
      ASSERT_EQ(half_back.bits, bits);
    }
    if (std::isnan(to_acc(bf))) {
      EXPECT_TRUE(std::isnan(to_acc(bf_back)));
    } else {
      ASSERT_EQ(bf_back.bits, bits);
    }
  }
  const auto as_half = [](float x) {
    Half h;
    from_acc(x, h);
    return to_acc(h);
  };
  const auto as_bf16 = [](float x) {
    BFloat16 b;
    from_acc(x, b);
    return to_acc(b);
  };
  EXPECT_EQ(as_half(1.0f + 0x1p-11f), 1.0f);  // half way: to even
  EXPECT_EQ(as_half(1.0f + 3 * 0x1p-11f), 1.0f + 0x1p-9f);
  EXPECT_EQ(as_half(65519.0f), 65504.0f);
  EXPECT_TRUE(std::isinf(as_half(65520.0f)));
  EXPECT_EQ(as_half(0x1p-25f), 0.0f);
  EXPECT_EQ(as_half(3 * 0x1p-26f), 0x1p-24f);
  EXPECT_EQ(as_bf16(1.0f + 0x1p-8f), 1.0f);
  EXPECT_EQ(as_bf16(1.0f + 3 * 0x1p-8f), 1.0f + 0x1p-6f);
  EXPECT_TRUE(std::isinf(as_bf16(3.4e38f)));
}

}  // namespace
}  // namespace mpeft::kernels
