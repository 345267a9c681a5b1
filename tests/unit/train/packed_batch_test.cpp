#include "train/packed_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/data/collator.h"

#include "support/tiny_model.h"

namespace mpeft::train {
namespace {

data::Batch some_batch() {
  data::Example a, b;
  for (int t = 0; t < 19; ++t) a.ids.push_back(1 + 3 * t % 53);
  for (int t = 0; t < 7; ++t) b.ids.push_back(2 + 5 * t % 47);
  a.prompt_length = 11;
  b.prompt_length = 3;
  return data::collate({&a, &b}, /*pad_id=*/0);
}

TEST(PackedBatchTest, ShapesAreRoundedUpToALadder) {
  const auto seqlen = [](int64_t n) { return rounded_up({1, n, 1}).seqlen; };
  const auto labels = [](int64_t n) { return rounded_up({1, 1, n}).n_labels; };
  EXPECT_EQ(seqlen(1), 8);
  EXPECT_EQ(seqlen(64), 64);
  EXPECT_EQ(seqlen(65), 72);
  EXPECT_EQ(seqlen(512), 512);
  EXPECT_EQ(seqlen(513), 576);
  EXPECT_EQ(seqlen(1025), 1152);
  EXPECT_EQ(labels(1), 16);
  EXPECT_EQ(labels(64), 64);
  EXPECT_EQ(labels(65), 80);
  EXPECT_EQ(labels(2049), 2560);
  EXPECT_EQ(rounded_up({7, 3, 2}).rows, 7);
  int64_t before = 0;
  for (int64_t n = 1; n < 5000; ++n) {
    const int64_t to = seqlen(n);
    ASSERT_GE(to, n);
    ASSERT_GE(to, before);
    ASSERT_LE(to, std::max(n + n / 8 + 1, n + 7)) << n;
    ASSERT_EQ(seqlen(to), to) << "a length of the ladder stays";
    before = to;
  }
}

TEST(PackedBatchTest, HoldsIdsPositionsAndLabels) {
  const auto batch = some_batch();
  const BatchShape shape = rounded_up(shape_of(batch));
  ASSERT_EQ(shape, (BatchShape{2, 24, 16}));
  const at::Tensor packed = pack(batch, shape, /*pinned=*/false);
  const LossInputs inputs = unpack(packed, shape);
  EXPECT_EQ(inputs.ids.sizes(), (std::vector<int64_t>{2, 24}));
  const auto ids = inputs.ids.accessor<int64_t, 2>();
  const auto positions = inputs.positions.accessor<int64_t, 1>(), labels = inputs.labels.accessor<int64_t, 1>();
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t t = 0; t < 24; ++t) {
      EXPECT_EQ(ids[row][t], t < batch.seqlen ? batch.ids[static_cast<size_t>(row * batch.seqlen + t)] : 0);
    }
  }
  const int64_t n = batch.n_labels();
  ASSERT_LT(n, 16);
  for (int64_t i = 0; i < 16; ++i) {
    if (i >= n) {
      EXPECT_EQ(labels[i], data::kIgnoreLabel);
      EXPECT_EQ(positions[i], 0);
      continue;
    }
    const int64_t row = positions[i] / 24, t = positions[i] % 24;
    EXPECT_EQ(labels[i], batch.labels[static_cast<size_t>(row * batch.seqlen + t)]) << i;
    EXPECT_NE(labels[i], data::kIgnoreLabel);
  }
}

TEST(PackedBatchTest, PaddingChangesNeitherLossNorGradients) {
  const auto batch = some_batch();
  const auto loss_and_gradient = [&](const BatchShape& shape) {
    auto model = test::make_tiny_model();
    for (auto& parameter : model->parameters()) parameter.set_requires_grad(true);
    const at::Tensor loss = token_loss_sum(model, unpack(pack(batch, shape, /*pinned=*/false), shape));
    loss.backward();
    return std::pair{loss.item<double>(), model->backbone->layers[0]->mixer->in_proj->weight.grad().clone()};
  };
  const auto [loss, gradient] = loss_and_gradient(shape_of(batch));
  const auto [padded_loss, padded_gradient] = loss_and_gradient(rounded_up(shape_of(batch)));
  EXPECT_NEAR(loss, padded_loss, 1e-5 * loss);
  EXPECT_LE((gradient - padded_gradient).norm().item<double>(), 1e-5 * gradient.norm().item<double>());
}

}  // namespace
}  // namespace mpeft::train
