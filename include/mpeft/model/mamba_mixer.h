#pragma once

#include <optional>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "mpeft/model/inference_cache.h"
#include "mpeft/model/mamba_config.h"
#include "mpeft/model/projection.h"

namespace mpeft::model {

/// The parameters of the depthwise convolution; the mixer calls the operator.
class Conv1dImpl : public torch::nn::Module {
 public:
  Conv1dImpl(int64_t channels, int64_t width, bool has_bias);
  at::Tensor weight;  ///< (d_inner, 1, d_conv)
  at::Tensor bias;    ///< (d_inner), undefined without bias
};
TORCH_MODULE(Conv1d);

/// The Mamba block's mixer (Gu and Dao 2023, section 3.4): in_proj, causal convolution, selective scan with gate,
/// out_proj.
class MambaMixerImpl : public torch::nn::Module {
 public:
  explicit MambaMixerImpl(const MambaConfig& config);

  /// hidden (batch, seqlen, d_model) -> same. `lengths` (batch) int32: tokens of each row that are not padding. With
  /// `state`, continues from it (undefined tensors: from zeros) and leaves the state after each row's last token there.
  at::Tensor forward(const at::Tensor& hidden, const std::optional<at::Tensor>& lengths, LayerState* state);

  Projection in_proj{nullptr};  ///< d_model -> 2 d_inner: in_proj_x, in_proj_z
  Conv1d conv1d{nullptr};
  Projection x_proj{nullptr};    ///< d_inner -> dt_rank + 2 d_state: x_proj_dt, x_proj_B, x_proj_C
  Projection dt_proj{nullptr};   ///< dt_rank -> d_inner; its bias is added inside the scan
  Projection out_proj{nullptr};  ///< d_inner -> d_model
  at::Tensor A_log;              ///< (d_inner, d_state): A = -exp(A_log)
  at::Tensor D;                  ///< (d_inner)

 private:
  MambaConfig config_;
};
TORCH_MODULE(MambaMixer);

}  // namespace mpeft::model
