#pragma once

#include <torch/nn/module.h>

#include "mpeft/model/scan_adapter.h"

#include "peft/sd_selection.h"

namespace mpeft::peft {

/// SDT's warm-up: A_log' = A_log + delta with a trained delta of A_log's shape.
class DenseALogDelta : public torch::nn::Module, public model::ScanAdapter {
 public:
  DenseALogDelta(int64_t d_inner, int64_t d_state);
  at::Tensor change_A_log(const at::Tensor& A_log) override;

  at::Tensor delta;  ///< (d_inner, d_state), starts at zero
};

/// SDT's training: A_log' = A_log with trained numbers added at a few entries. The backward gathers those entries'
/// gradients.
class KeptEntries : public torch::nn::Module, public model::ScanAdapter {
 public:
  KeptEntries(const LayerSelection& selection, int64_t d_state);
  at::Tensor change_A_log(const at::Tensor& A_log) override;

  at::Tensor delta;  ///< (k, s), row c belongs to the c-th kept channel and its states; starts at zero

 private:
  at::Tensor entries_;  // (k * s) int64, a buffer: places in the flat A_log, all different
};

}  // namespace mpeft::peft
