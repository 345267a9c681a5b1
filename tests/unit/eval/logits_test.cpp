#include "mpeft/eval/logits.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"

#include "unit/eval/tiny_model.h"

namespace mpeft::eval {
namespace {

double relative_error(const at::Tensor& ours, const at::Tensor& truth) {
  return (at::linalg_vector_norm(ours.to(at::kDouble) - truth) / at::linalg_vector_norm(truth)).item<double>();
}

TEST(LogitsTest, EqualTheGoldenOnesInAnyBatch) {
  auto model = tiny_model();
  const auto golden = tiny_cases();
  std::vector<std::vector<text::TokenId>> lists;
  for (int64_t row = 0; row < golden.at("ids").size(0); ++row) {
    const auto length = golden.at("lengths")[row].item<int64_t>();
    std::vector<text::TokenId> list;
    for (int64_t t = 0; t < length; ++t) list.push_back(golden.at("ids")[row][t].item<int32_t>());
    lists.push_back(std::move(list));
  }
  for (const int64_t batch_size : {1, 3, 100}) {
    const auto logits = compute_logits(model, lists, batch_size);
    for (size_t i = 0; i < lists.size(); ++i) {
      const auto row = static_cast<int64_t>(i);
      const auto truth = golden.at("logits64")[row].narrow(0, 0, static_cast<int64_t>(lists[i].size()));
      ASSERT_EQ(logits[i].sizes(), truth.sizes());
      EXPECT_EQ(logits[i].scalar_type(), at::kFloat);
      EXPECT_LE(relative_error(logits[i], truth), 1e-5) << "list " << i << ", batch size " << batch_size;
    }
  }
}

TEST(LogitsTest, NameTheListThatIsWrong) {
  auto model = tiny_model();
  EXPECT_THROW(compute_logits(model, {{1}, {53}}), DataError);
  EXPECT_THROW(compute_logits(model, {{}}), DataError);
}

}  // namespace
}  // namespace mpeft::eval
