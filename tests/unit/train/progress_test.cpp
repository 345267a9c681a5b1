#include "mpeft/train/progress.h"

#include <gtest/gtest.h>

namespace mpeft::train {
namespace {

TEST(Progress, TheTimeLeftIsThatOfThePaceSoFar) {
  const Progress progress("eval", 100);
  EXPECT_DOUBLE_EQ(progress.seconds_left(10, 20), 40);
  EXPECT_DOUBLE_EQ(progress.seconds_left(10, 100), 0);
  EXPECT_LT(progress.seconds_left(3, 0), 0);
}

TEST(Progress, TheTimeLeftCountsTheEpochsThatFollow) {
  const Progress progress("epoch 2/10", 60, 0, 8 * 60);
  EXPECT_DOUBLE_EQ(progress.seconds_left(30, 30), 30 + 8 * 60);
}

TEST(Progress, WhatWasDoneBeforeTheRunWentOnSaysNothingAboutItsPace) {
  const Progress progress("epoch 2/10", 60, 50, 60);
  EXPECT_DOUBLE_EQ(progress.seconds_left(2, 52), 8 + 60);
  EXPECT_LT(progress.seconds_left(2, 50), 0);
}

}  // namespace
}  // namespace mpeft::train
