// Generation with every PEFT method: token by token as in one pass, and rows together as alone.
#include <algorithm>

#include <gtest/gtest.h>

#include "mpeft/model/token_stepper.h"

#include "conformance/peft_cases.h"

namespace mpeft::peft::conformance {
namespace {

TEST_P(EveryPeftMethod, RecurrentDecodingEqualsTheParallelForward) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  const at::Tensor parallel = logits_of(subject.model);
  const double limit = 5e-4 * std::max(1.0, parallel.abs().max().item<double>());
  for (const int64_t prompt : {1, 4}) {
    model::InferenceCache cache;
    std::vector<at::Tensor> pieces = {
        subject.model->forward_hidden(some_ids().narrow(1, 0, prompt), std::nullopt, &cache)};
    for (int64_t t = prompt; t < some_ids().size(1); ++t)
      pieces.push_back(subject.model->forward_hidden(some_ids().narrow(1, t, 1), std::nullopt, &cache));
    const at::Tensor recurrent = subject.model->forward_head(at::cat(pieces, 1));
    ASSERT_EQ(recurrent.sizes(), parallel.sizes());
    EXPECT_LE((recurrent - parallel).abs().max().item<double>(), limit) << "after a prompt of " << prompt;
  }
}

// What generation on a GPU goes through, here with the operators of the CPU.
TEST_P(EveryPeftMethod, TokensStepByStepEqualTheModules) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->eval();
  const auto ids = at::cat({some_ids(), some_ids().flip(1), some_ids().roll(3)});  // (3, seqlen)
  model::InferenceCache cache;
  subject.model->forward_hidden(ids, {}, &cache);
  model::TokenStepper stepper(subject.model);
  model::InferenceCache states[2] = {cache, stepper.make_states(3)};
  const std::vector<std::vector<int64_t>> parents{{0, 1, 2}, {2, 2, 0}, {1, 0, 1}};
  for (size_t turn = 0; turn < parents.size(); ++turn) {
    const auto index = at::tensor(parents[turn], at::kLong);
    const auto tokens = ids.select(1, static_cast<int64_t>(turn));
    cache.select_rows(index);
    const auto expected = subject.model->forward_hidden(tokens.unsqueeze(1), {}, &cache).squeeze(1);
    const auto ours = stepper.step(tokens, index, states[turn % 2], states[1 - turn % 2]);
    EXPECT_TRUE(at::equal(ours, expected)) << "turn " << turn << ": " << relative_difference(ours, expected);
  }
}

TEST_P(EveryPeftMethod, PaddedRowsDecodeAsTheyDoAlone) {
  const torch::NoGradGuard no_grad;
  auto subject = make_subject(GetParam());
  disturb(*subject.method);
  subject.model->eval();
  const at::Tensor next = at::tensor({7, 33}, at::kLong).unsqueeze(1);  // (2, 1)
  const at::Tensor lengths = at::tensor({9, 5}, at::kInt);
  at::Tensor rows = at::cat({some_ids().narrow(1, 0, 9), some_ids().narrow(1, 2, 9)});  // (2, 9)
  model::InferenceCache together;
  const at::Tensor prompt = subject.model->forward_hidden(rows, lengths, &together);
  const at::Tensor step = subject.model->forward_hidden(next, std::nullopt, &together);
  for (int64_t row = 0; row < 2; ++row) {
    const int64_t n = row == 0 ? 9 : 5;
    model::InferenceCache alone;
    const at::Tensor own = subject.model->forward_hidden(rows.narrow(0, row, 1).narrow(1, 0, n), std::nullopt, &alone);
    EXPECT_LE(relative_difference(prompt[row].narrow(0, 0, n), own[0]), 1e-5) << "row " << row;
    const at::Tensor own_step = subject.model->forward_hidden(next.narrow(0, row, 1), std::nullopt, &alone);
    EXPECT_LE(relative_difference(step[row], own_step[0]), 1e-5) << "row " << row;
  }
}

}  // namespace
}  // namespace mpeft::peft::conformance
