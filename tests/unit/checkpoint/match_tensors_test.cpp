#include "mpeft/checkpoint/match_tensors.h"

#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

TEST(MatchTensors, EqualNamesAndShapesAreFineWhateverTheDtype) {
  const MatchReport report =
      match_tensors({{"w", {2, 3}}, {"s", {}}}, {{"w", at::zeros({2, 3}, at::kHalf)}, {"s", at::scalar_tensor(1)}});
  EXPECT_TRUE(report.is_ok());
  report.throw_if_any("x");
}

TEST(MatchTensors, EveryDifferenceIsNamedInOneError) {
  const MatchReport report = match_tensors(
      {{"layers.0.in_proj.weight", {4, 2}}, {"layers.0.norm.weight", {2}}, {"lm_head.weight", {8, 2}}, {"zzz", {1}}},
      {{"layers.0.in_proj.weight", at::zeros({2, 4})},
       {"layers.0.norm.weigth", at::ones({2})},
       {"lm_head.weight", at::ones({8, 2})}});
  EXPECT_EQ(error_of({}, [&] { report.throw_if_any("m/model.safetensors"); }),
            "m/model.safetensors: the tensors do not fit: 2 missing, 1 unexpected, 1 of another shape\n"
            "  missing     layers.0.norm.weight (the file has 'layers.0.norm.weigth')\n"
            "  missing     zzz\n"
            "  unexpected  layers.0.norm.weigth\n"
            "  shape       layers.0.in_proj.weight: expected [4, 2], found [2, 4]");
}

TEST(MatchTensors, ThousandsOfDifferencesAreListedWithoutGuesses) {
  TensorShapes expected;
  TensorMap found;
  for (int i = 0; i < 3000; ++i) {
    expected[str("expected.", i)] = {1};
    found[str("found.", i)] = at::empty({1});
  }
  const std::string message = match_tensors(expected, found).message("m");
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 6000);
}

}  // namespace
}  // namespace mpeft::checkpoint
