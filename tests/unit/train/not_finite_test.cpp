#include "train/not_finite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpeft::train {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(NotFiniteTest, AdvisesWhatTheRunDoesNotDoAlready) {
  const std::string fp32 = not_finite_advice(c10::ScalarType::Float, 0.5, 1);
  EXPECT_THAT(fp32, HasSubstr("try a smaller --set learning_rate=… (it is 0.5)"));
  EXPECT_THAT(fp32, Not(HasSubstr("--prec")));
  EXPECT_THAT(fp32, Not(HasSubstr("max_grad_norm")));
  const std::string bf16 = not_finite_advice(c10::ScalarType::BFloat16, 0.5, 0);
  EXPECT_THAT(bf16, HasSubstr("--prec fp32"));
  EXPECT_THAT(bf16, Not(HasSubstr("--prec bf16")));
  EXPECT_THAT(bf16, HasSubstr("--set max_grad_norm=1"));
  EXPECT_THAT(not_finite_advice(c10::ScalarType::Half, 0.5, 1), HasSubstr("--prec bf16 or fp32"));
}

}  // namespace
}  // namespace mpeft::train
