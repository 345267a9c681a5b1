#include <cmath>

#include <gtest/gtest.h>

#include "kernels/common/vec_portable.h"
// The Vec of this unit comes first.
#include "kernels/common/vec_math.h"

// The elementary functions every vectorised kernel is built on, in their portable form; the others differ by fused
// rounding only.

namespace mpeft::kernels {
namespace {

template <typename Function>
double largest_relative_error(double from, double to, const Function& ours, double (*truth)(double)) {
  double worst = 0;
  for (int i = 0; i <= 200000; ++i) {
    const auto x = static_cast<float>(from + (to - from) * i / 200000);
    const double expected = truth(x);
    worst = std::max(worst, std::abs(ours(x) - expected) / std::abs(expected));
  }
  return worst;
}

double lane(Vec x) { return x.v[0]; }

TEST(VecMath, PowersOfTwoAreAccurateAndSaturateExactly) {
  const auto ours = [](float x) { return lane(decay_exp2(Vec::broadcast(x))); };
  EXPECT_LT(largest_relative_error(-126, 0, ours, [](double x) { return std::exp2(x); }), 2.5e-7);
  EXPECT_EQ(ours(0.0f), 1.0);
  for (const float x : {-127.0f, -200.0f, -1e6f, -1e30f, -INFINITY}) EXPECT_EQ(ours(x), 0.0) << x;
  EXPECT_TRUE(std::isinf(ours(129.0f)));
  EXPECT_TRUE(std::isnan(ours(NAN)));
}

TEST(VecMath, TheExponentialIsAccurateAtLargeArguments) {
  const auto ours = [](float x) { return lane(exp(Vec::broadcast(x))); };
  EXPECT_LT(largest_relative_error(-87, 88, ours, [](double x) { return std::exp(x); }), 2.5e-7);
  EXPECT_EQ(ours(-INFINITY), 0.0);
  EXPECT_TRUE(std::isnan(ours(NAN)));
}

TEST(VecMath, SigmoidAndSoftplusAreAccurateOnBothSides) {
  const auto sigmoid_truth = [](double x) { return 1 / (1 + std::exp(-x)); };
  const auto softplus_truth = [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); };
  EXPECT_LT(largest_relative_error(
                -86, 90, [](float x) { return lane(sigmoid(Vec::broadcast(x))); }, sigmoid_truth),
            5e-7);
  EXPECT_LT(largest_relative_error(
                -86, 90, [](float x) { return lane(softplus(Vec::broadcast(x)).value); }, softplus_truth),
            5e-7);
  EXPECT_LT(largest_relative_error(
                -86, 90, [](float x) { return lane(softplus(Vec::broadcast(x)).derivative); }, sigmoid_truth),
            5e-7);
  EXPECT_EQ(lane(sigmoid(Vec::broadcast(-INFINITY))), 0.0);
  EXPECT_EQ(lane(sigmoid(Vec::broadcast(INFINITY))), 1.0);
  EXPECT_TRUE(std::isnan(lane(softplus(Vec::broadcast(NAN)).value)));
}

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
