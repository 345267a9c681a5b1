#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "mpeft/model/extra_states.h"
#include "mpeft/model/inference_cache.h"
#include "mpeft/model/mamba_config.h"
#include "mpeft/model/projection.h"
#include "mpeft/model/scan_adapter.h"

namespace mpeft::model {

/// What a PEFT method puts on the convolution.
class ConvAdapter {
 public:
  virtual ~ConvAdapter() = default;
  /// The weight to use in the place of `weight` (d_inner, d_conv), in its dtype.
  virtual at::Tensor adapt(const at::Tensor& weight) = 0;
};

/// The parameters of the depthwise convolution; the mixer calls the operator.
class Conv1dImpl : public torch::nn::Module {
 public:
  Conv1dImpl(int64_t channels, int64_t width, bool has_bias);

  /// The weight as the operator takes it, adapted: (d_inner, d_conv) in `dtype`.
  at::Tensor kernel(at::ScalarType dtype) const;
  /// Adds an adapter; `module` holds its parameters and becomes the child `conv1d`. Throws ConfigError when there is
  /// one already.
  void attach(std::shared_ptr<ConvAdapter> adapter, std::shared_ptr<torch::nn::Module> module);
  /// Puts the adapted weight in the place of the weight and removes the adapter.
  void merge_adapters();

  at::Tensor weight;  ///< (d_inner, 1, d_conv)
  at::Tensor bias;    ///< (d_inner), undefined without bias

 private:
  std::shared_ptr<ConvAdapter> adapter_;
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

  /// One token of each text, without gradients: hidden (rows, d_model) -> same. Text i continues row parents[i] of
  /// `from` (no parents: row i) and leaves its state in row i of `to`, which has memory of its own. A (d_inner,
  /// n_states) is scan_A().
  at::Tensor step(const at::Tensor& hidden, const LayerState& from, LayerState& to,
                  const std::optional<at::Tensor>& parents, const at::Tensor& A);

  /// A = -exp(A_log), fp32, as step() takes it.
  at::Tensor scan_A() const;

  /// What a text starts from in this layer: undefined tensors (zeros) unless an adapter says otherwise; one row, shared
  /// by the batch. `dtype`: of the activations.
  LayerState start(at::ScalarType dtype);

  /// The state after reading x (batch, n, d_inner), what enters the convolution, from `state`; without gate and output.
  LayerState read(const at::Tensor& x, LayerState state);

  /// Adds an adapter on the convolution and the scan. `module` holds its parameters and becomes the child `name`.
  /// Throws ConfigError when there is a child of that name already.
  void attach(const std::string& name, std::shared_ptr<ScanAdapter> adapter, std::shared_ptr<torch::nn::Module> module);

  /// Removes the adapter `name` and its parameters.
  void detach(const std::string& name);

  /// Gives the scan more states than the checkpoint has; they become the child `extra_states`. Throws ConfigError when
  /// there are some already.
  void attach_extra_states(const ExtraStates& extra);

  /// d_state of the scan: the checkpoint's and the extra ones.
  int64_t n_states() const;

  /// Makes the extra states part of A_log and x_proj; d_state grows by their number.
  void absorb_extra_states();

  Projection in_proj{nullptr};  ///< d_model -> 2 d_inner: in_proj_x, in_proj_z
  Conv1d conv1d{nullptr};
  Projection x_proj{nullptr};    ///< d_inner -> dt_rank + 2 d_state: x_proj_dt, x_proj_B, x_proj_C
  Projection dt_proj{nullptr};   ///< dt_rank -> d_inner; its bias is added inside the scan
  Projection out_proj{nullptr};  ///< d_inner -> d_model
  at::Tensor A_log;              ///< (d_inner, d_state): A = -exp(A_log)
  at::Tensor D;                  ///< (d_inner)

 private:
  struct Projected;  // delta, B and C of the scan
  Projected project(const at::Tensor& u);
  at::Tensor convolve_and_scan(const at::Tensor& x, const std::optional<at::Tensor>& z,
                               const std::optional<at::Tensor>& lengths, LayerState& state);
  void register_child(const std::string& name, std::shared_ptr<torch::nn::Module> module);

  MambaConfig config_;
  std::vector<std::pair<std::string, std::shared_ptr<ScanAdapter>>> adapters_;
  ExtraStates extra_{nullptr};
};
TORCH_MODULE(MambaMixer);

}  // namespace mpeft::model
