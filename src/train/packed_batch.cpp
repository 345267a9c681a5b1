#include "train/packed_batch.h"

#include <algorithm>
#include <bit>

#include <ATen/ops/empty.h>

#include "mpeft/core/check.h"

namespace mpeft::train {
namespace {

/// The smallest multiple of `rung` that holds n, where rung is 1/n_rungs of the power of 2 below n, at least `least`.
int64_t on_ladder(int64_t n, int64_t n_rungs, int64_t least) {
  if (n <= 0) return n;
  const auto below = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(n - 1, 1))));
  const int64_t rung = std::max(below / n_rungs, least);
  return (n + rung - 1) / rung * rung;
}

}  // namespace

BatchShape shape_of(const data::Batch& batch) { return {batch.rows, batch.seqlen, batch.n_labels()}; }

BatchShape rounded_up(BatchShape shape) {
  return {shape.rows, on_ladder(shape.seqlen, 8, 8), on_ladder(shape.n_labels, 4, 16)};
}

at::Tensor pack(const data::Batch& batch, const BatchShape& shape, bool pinned) {
  MPEFT_ASSERT(shape.rows == batch.rows && shape.seqlen >= batch.seqlen, "a batch does not fit its shape");
  const at::Tensor packed = at::empty({shape.numel()}, at::TensorOptions().dtype(at::kLong).pinned_memory(pinned));
  int64_t* ids = packed.mutable_data_ptr<int64_t>();
  int64_t* const positions = ids + shape.rows * shape.seqlen;
  int64_t* const labels = positions + shape.n_labels;
  std::fill_n(ids, shape.rows * shape.seqlen, 0);
  std::fill_n(positions, shape.n_labels, 0);
  std::fill_n(labels, shape.n_labels, data::kIgnoreLabel);
  int64_t n = 0;  // labels so far
  for (int64_t row = 0; row < batch.rows; ++row, ids += shape.seqlen) {
    for (int64_t t = 0; t < batch.seqlen; ++t) {
      const auto from = static_cast<size_t>(row * batch.seqlen + t);
      ids[t] = batch.ids[from];
      if (batch.labels[from] == data::kIgnoreLabel) continue;
      MPEFT_ASSERT(n < shape.n_labels, "a batch has more labels than its shape");
      positions[n] = row * shape.seqlen + t;
      labels[n++] = batch.labels[from];
    }
  }
  return packed;
}

LossInputs unpack(const at::Tensor& packed, const BatchShape& shape) {
  const int64_t n_ids = shape.rows * shape.seqlen;
  return {packed.narrow(0, 0, n_ids).view({shape.rows, shape.seqlen}), packed.narrow(0, n_ids, shape.n_labels),
          packed.narrow(0, n_ids + shape.n_labels, shape.n_labels)};
}

}  // namespace mpeft::train
