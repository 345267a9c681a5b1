#pragma once

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace mpeft::model {

/// States that the scan has beside the checkpoint's (Additional-scan, MambaPEFT 2025): columns of A_log and rows of
/// x_proj for B and C. They become part of the weights by MambaLM::absorb_extra_states.
class ExtraStatesImpl : public torch::nn::Module {
 public:
  /// Parameters are allocated, not initialised.
  ExtraStatesImpl(int64_t d_inner, int64_t n_states);

  int64_t n_states() const { return A_log.size(1); }

  at::Tensor A_log;        ///< (d_inner, n_states)
  at::Tensor x_proj_rows;  ///< (2 n_states, d_inner): the rows of B, then those of C
};
TORCH_MODULE(ExtraStates);

}  // namespace mpeft::model
