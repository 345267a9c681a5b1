#pragma once

#include <compare>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "mpeft/data/example.h"
#include "mpeft/train/loss.h"

namespace mpeft::train {

struct BatchShape {
  int64_t rows = 0, seqlen = 0, n_labels = 0;
  auto operator<=>(const BatchShape&) const = default;
  int64_t numel() const { return rows * seqlen + 2 * n_labels; }
};

BatchShape shape_of(const data::Batch& batch);

/// The shape with seqlen rounded up to one of eight lengths between a power of 2 and the next (at least 8 apart), and
/// n_labels to one of four (at least 16 apart): few different shapes, at most an eighth more tokens (or 7 a row).
/// Padding on the right changes nothing in a causal model.
BatchShape rounded_up(BatchShape shape);

/// The batch as one block of `shape`, which is at least as large, in host memory: ids (rows, seqlen), labelled
/// positions, their labels, all int64. Added ids are 0; added labels carry no loss. In pinned memory if `pinned`, from
/// which a copy to a GPU runs in the order of the stream (the allocator keeps the memory until it is done).
at::Tensor pack(const data::Batch& batch, const BatchShape& shape, bool pinned);

/// Views of a packed batch, on whichever device.
LossInputs unpack(const at::Tensor& packed, const BatchShape& shape);

}  // namespace mpeft::train
