#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

namespace mpeft::model {

/// What one layer remembers of the tokens read so far.
struct LayerState {
  at::Tensor conv;  ///< (batch, d_conv - 1, d_inner), compute dtype: the last inputs of the convolution
  at::Tensor scan;  ///< (batch, d_inner, d_state), fp32
};

/// The state of a batch of texts between calls of MambaLM::forward_hidden. Empty before the first call: the first call
/// (the prompt) starts from zeros and fills it; each further call continues.
struct InferenceCache {
  std::vector<LayerState> layers;
  bool empty() const { return layers.empty(); }
  /// Keeps the rows `index` (n) int64, in that order, repeats allowed: beams follow their parents, finished rows leave.
  void select_rows(const at::Tensor& index);
};

}  // namespace mpeft::model
