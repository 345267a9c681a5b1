#include "peft/kept_entries.h"

#include <ATen/ops/index_add.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace mpeft::peft {

DenseALogDelta::DenseALogDelta(int64_t d_inner, int64_t d_state) {
  delta = register_parameter("A_log", at::zeros({d_inner, d_state}));
}

at::Tensor DenseALogDelta::change_A_log(const at::Tensor& A_log) { return A_log + delta.to(A_log.scalar_type()); }

KeptEntries::KeptEntries(const LayerSelection& selection, int64_t d_state) {
  std::vector<int64_t> entries;
  for (size_t c = 0; c < selection.channels.size(); ++c) {
    for (const int64_t state : selection.states[c]) entries.push_back(selection.channels[c] * d_state + state);
  }
  entries_ = register_buffer("entries", at::tensor(entries, at::kLong));
  const auto k = static_cast<int64_t>(selection.channels.size());
  delta = register_parameter("A_log", at::zeros({k, entries_.size(0) / k}));
}

at::Tensor KeptEntries::change_A_log(const at::Tensor& A_log) {
  // Every entry occurs once, so the sum does not hang on an order, on CUDA either.
  return A_log.flatten().index_add(0, entries_, delta.flatten().to(A_log.scalar_type())).view_as(A_log);
}

}  // namespace mpeft::peft
