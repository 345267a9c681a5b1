// Gathered gradients against those of dense tensors with a mask, in fp64.

#include <gtest/gtest.h>

#include "mpeft/model/precision.h"

#include "peft/kept_columns.h"
#include "peft/kept_entries.h"
#include "support/tiny_model.h"

namespace mpeft::peft {
namespace {

at::Tensor wave(std::vector<int64_t> shape, double phase) {
  const int64_t n = c10::multiply_integers(shape);
  return at::sin(at::arange(n, at::kDouble) * 0.7 + phase).view(shape);
}

TEST(KeptColumnsTest, EqualsADenseWeightWithAMask) {
  model::ProjectionOptions options(13, 11);
  options.slices = {{"x_proj_dt", 0, 3}, {"x_proj_B", 3, 7}, {"x_proj_C", 7, 11}};
  const std::vector<int64_t> columns = {0, 4, 5, 12};
  for (const auto& parts : std::vector<std::vector<model::RowSlice>>{{options.slices[1]},
                                                                     {options.slices[1], options.slices[2]},
                                                                     {options.slices[0], options.slices[2]},
                                                                     options.slices}) {
    model::Projection projection(options);
    projection->weight.set_data(wave({11, 13}, 0));
    auto adapter = std::make_shared<KeptColumns>(parts, columns, options);
    projection->attach("sdt", adapter, adapter);

    at::Tensor dense = at::zeros({11, 13}, at::kDouble), mask = at::zeros({11, 13}, at::kDouble);
    const at::Tensor index = at::tensor(columns, at::kLong);
    for (const auto& part : parts) {
      const at::Tensor values = wave({part.end - part.begin, 4}, static_cast<double>(part.begin) + 1);
      at::Tensor delta = adapter->delta(part.name);
      delta.set_data(values.clone());  // in fp64
      dense.narrow(0, part.begin, part.end - part.begin).index_copy_(1, index, values);
      mask.narrow(0, part.begin, part.end - part.begin).index_fill_(1, index, 1.0);
    }
    dense.set_requires_grad(true);
    const at::Tensor x = wave({2, 5, 13}, 3).set_requires_grad(true),
                     x_dense = x.detach().clone().set_requires_grad(true);
    const at::Tensor y = projection->forward(x);
    const at::Tensor y_dense = at::linear(x_dense, projection->weight + dense * mask);
    EXPECT_TRUE(at::allclose(y, y_dense, 1e-12, 1e-12));
    (y * at::cos(y)).sum().backward();
    (y_dense * at::cos(y_dense)).sum().backward();
    EXPECT_TRUE(at::allclose(x.grad(), x_dense.grad(), 1e-11, 1e-12));
    for (const auto& part : parts) {
      const at::Tensor expected = dense.grad().narrow(0, part.begin, part.end - part.begin).index_select(1, index);
      EXPECT_TRUE(at::allclose(adapter->delta(part.name).grad(), expected, 1e-11, 1e-12)) << part.name;
    }
    EXPECT_TRUE(at::allclose(adapter->weight_delta().to(at::kDouble), (dense * mask).detach(), 1e-6, 1e-7));
  }
}

TEST(KeptEntriesTest, EqualsADenseChangeWithAMask) {
  LayerSelection selection;
  selection.channels = {1, 4, 8};
  selection.states = {{0, 6}, {2, 3}, {5, 6}};
  KeptEntries entries(selection, 7);
  const at::Tensor A_log = wave({9, 7}, 0);
  at::Tensor dense = at::zeros({9, 7}, at::kDouble), mask = at::zeros({9, 7}, at::kDouble);
  {
    const torch::NoGradGuard no_grad;
    entries.delta.set_data(wave({3, 2}, 2));  // in fp64
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t s = 0; s < 2; ++s) {
        const int64_t channel = selection.channels[static_cast<size_t>(c)];
        const int64_t state = selection.states[static_cast<size_t>(c)][static_cast<size_t>(s)];
        dense[channel][state] = entries.delta[c][s].item<double>();
        mask[channel][state] = 1.0;
      }
    }
  }
  dense.set_requires_grad(true);
  const at::Tensor kept = entries.change_A_log(A_log), expected = A_log + dense * mask;
  EXPECT_TRUE(at::equal(kept, expected));
  at::exp(kept * 1.3).sum().backward();
  at::exp(expected * 1.3).sum().backward();
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t s = 0; s < 2; ++s) {
      const int64_t channel = selection.channels[static_cast<size_t>(c)];
      const int64_t state = selection.states[static_cast<size_t>(c)][static_cast<size_t>(s)];
      EXPECT_NEAR(entries.delta.grad()[c][s].item<double>(), dense.grad()[channel][state].item<double>(), 1e-12);
    }
  }
}

}  // namespace
}  // namespace mpeft::peft
