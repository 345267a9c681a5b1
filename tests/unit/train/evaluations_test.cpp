// What the recorded evaluations of a run decide: which is the best, and whether a floor ends it.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/train/metrics_log.h"

#include "train/metric_floors.h"

namespace mpeft::train {
namespace {

using testing::HasSubstr;
using testing::IsNull;

EvalLine line(int64_t epoch, double bleu) { return {epoch, epoch * 5, {{"bleu", bleu}, {"loss", 9}}}; }

TEST(BestEvaluationTest, NotANumberIsNeverTheBest) {
  const double nan = std::nan("");
  EXPECT_THAT(best_evaluation({}, "bleu"), IsNull());
  const std::vector<EvalLine> none = {line(1, nan), line(2, nan)};
  EXPECT_THAT(best_evaluation(none, "bleu"), IsNull());
  const std::vector<EvalLine> lines = {line(1, nan), line(2, 0.25), line(3, nan), line(4, 0.5), line(5, 0.5)};
  EXPECT_EQ(best_evaluation(lines, "bleu"), &lines[3]);
  EXPECT_THAT(best_evaluation(lines, "rouge"), IsNull());
  const std::vector<EvalLine> infinite = {line(1, -INFINITY)};
  EXPECT_EQ(best_evaluation(infinite, "bleu"), infinite.data());
}

TEST(MetricFloorsTest, AFloorIsForTheFirstEvaluationFromItsEpochOn) {
  const std::vector<EvalLine> lines = {line(0, 0.0), line(2, 0.5), line(4, 0.2)};
  EXPECT_EQ(below_floor(lines, "bleu", {}), "");
  EXPECT_EQ(below_floor(lines, "bleu", {{1, 0.5}, {3, 0.2}, {5, 9}}), "") << "epoch 5 has not been evaluated";
  EXPECT_EQ(below_floor(lines, "bleu", {{1, 0.6}}),
            "bleu is 0.5000 after epoch 2, below the 0.6 that min_eval_metric_after_epoch asks for after epoch 1");
  EXPECT_THAT(below_floor(lines, "bleu", {{1, 0.1}, {4, 0.3}}), HasSubstr("bleu is 0.2000 after epoch 4"));
  EXPECT_EQ(below_floor(lines, "rouge", {{1, 1}}), "");
  EXPECT_THAT(below_floor({line(1, std::nan(""))}, "bleu", {{1, -1}}), HasSubstr("below the -1"));
}

}  // namespace
}  // namespace mpeft::train
