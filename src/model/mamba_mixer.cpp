#include "mpeft/model/mamba_mixer.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::model {

Conv1dImpl::Conv1dImpl(int64_t channels, int64_t width, bool has_bias) {
  weight = register_parameter("weight", at::empty({channels, 1, width}), /*requires_grad=*/false);
  if (has_bias) bias = register_parameter("bias", at::empty({channels}), /*requires_grad=*/false);
}

at::Tensor Conv1dImpl::kernel(at::ScalarType dtype) const {
  const at::Tensor taps = weight.view({weight.size(0), weight.size(2)}).to(dtype);
  return adapter_ ? adapter_->adapt(taps) : taps;
}

void Conv1dImpl::attach(std::shared_ptr<ConvAdapter> adapter, std::shared_ptr<torch::nn::Module> module) {
  if (adapter_) throw ConfigError("conv1d: has an adapter already");
  register_module("conv1d", std::move(module));
  adapter_ = std::move(adapter);
}

void Conv1dImpl::merge_adapters() {
  if (!adapter_) return;
  const torch::NoGradGuard no_grad;
  weight.set_data(kernel(weight.scalar_type()).view(weight.sizes()));
  unregister_module("conv1d");
  adapter_.reset();
}

MambaMixerImpl::MambaMixerImpl(const MambaConfig& config) : config_(config) {
  const int64_t d_inner = config.d_inner(), dt_rank = config.resolved_dt_rank(), d_state = config.d_state;

  ProjectionOptions in(config.d_model, 2 * d_inner);
  in.has_bias = config.use_bias;
  in.slices = {{"in_proj_x", 0, d_inner}, {"in_proj_z", d_inner, 2 * d_inner}};
  in_proj = register_module("in_proj", Projection(in));

  conv1d = register_module("conv1d", Conv1d(d_inner, config.d_conv, config.use_conv_bias));

  ProjectionOptions x(d_inner, dt_rank + 2 * d_state);
  x.slices = {{"x_proj_dt", 0, dt_rank},
              {"x_proj_B", dt_rank, dt_rank + d_state},
              {"x_proj_C", dt_rank + d_state, dt_rank + 2 * d_state}};
  x_proj = register_module("x_proj", Projection(x));

  ProjectionOptions dt(dt_rank, d_inner);
  dt.has_bias = true;
  dt.defer_bias = true;
  dt_proj = register_module("dt_proj", Projection(dt));

  ProjectionOptions out(d_inner, config.d_model);
  out.has_bias = config.use_bias;
  out_proj = register_module("out_proj", Projection(out));

  A_log = register_parameter("A_log", at::empty({d_inner, d_state}), /*requires_grad=*/false);
  D = register_parameter("D", at::empty({d_inner}), /*requires_grad=*/false);
}

namespace {

// The operators want small tensors in fp32 (fp64 with fp64), whatever the activations are.
at::ScalarType small_dtype(const at::Tensor& activations) {
  return activations.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

std::optional<at::Tensor> maybe(const at::Tensor& t) {
  return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt;
}

// (..., d_state) -> (..., n): states that nobody spoke of, at `value`.
at::Tensor pad_states(const at::Tensor& t, int64_t n, double value) {
  return t.size(-1) < n ? at::constant_pad_nd(t, {0, n - t.size(-1)}, value) : t;
}

// Adapters speak of the checkpoint's states; the extra ones start from zero and are read as they are.
void speak_for_extra_states(ops::SelectiveScanArgs& scan) {
  const auto pad = [n = scan.A.size(1)](std::optional<at::Tensor>& term, double value) {
    if (term) term = pad_states(*term, n, value);
  };
  pad(scan.initial_state, 0.0);
  pad(scan.state_offset, 0.0);
  for (auto* scale : {&scan.B_scale, &scan.C_scale}) pad(*scale, 1.0);
  for (auto* bias : {&scan.B_bias, &scan.C_bias}) pad(*bias, 0.0);
}

}  // namespace

at::Tensor MambaMixerImpl::forward(const at::Tensor& hidden, const std::optional<at::Tensor>& lengths,
                                   LayerState* state) {
  // Views that split one tensor between them: its gradient is one concatenation. Slices would each make a whole one of
  // zeros and copy into it, and autograd would add those up.
  const auto xz = in_proj(hidden).split(config_.d_inner(), -1);  // of (batch, seqlen, 2 d_inner)
  const at::Tensor &x = xz[0], &z = xz[1];                       // (batch, seqlen, d_inner)

  const bool continues = state != nullptr && state->scan.defined();
  LayerState layer_state = continues ? *state : start(hidden.scalar_type());
  const at::Tensor y = convolve_and_scan(x, z, lengths, layer_state);  // (batch, seqlen, d_inner)
  if (state != nullptr) *state = layer_state;
  return out_proj(y);  // (batch, seqlen, d_model)
}

LayerState MambaMixerImpl::start(at::ScalarType dtype) {
  LayerState start;
  for (const auto& [name, adapter] : adapters_) adapter->change_start(*this, start, dtype);
  if (start.scan.defined()) start.scan = pad_states(start.scan, n_states(), 0.0);
  return start;
}

LayerState MambaMixerImpl::read(const at::Tensor& x, LayerState state) {
  convolve_and_scan(x, std::nullopt, std::nullopt, state);
  return state;
}

struct MambaMixerImpl::Projected {
  at::Tensor delta;  // (batch, seqlen, d_inner)
  at::Tensor B, C;   // (batch, seqlen, d_state), with the extra states behind the checkpoint's
};

int64_t MambaMixerImpl::n_states() const { return config_.d_state + (extra_ ? extra_->n_states() : 0); }

MambaMixerImpl::Projected MambaMixerImpl::project(const at::Tensor& u) {
  const int64_t dt_rank = config_.resolved_dt_rank(), d_state = config_.d_state;
  at::Tensor x_dbl, extra;  // (batch, seqlen, dt_rank + 2 d_state), (batch, seqlen, 2 n_extra)
  if (extra_) {
    std::tie(x_dbl, extra) = x_proj->forward_with_rows(u, extra_->x_proj_rows);
  } else {
    x_dbl = x_proj(u);
  }
  Projected p;
  const auto parts = x_dbl.split_with_sizes({dt_rank, d_state, d_state}, -1);  // views
  p.delta = dt_proj(parts[0]);
  p.B = parts[1];
  p.C = parts[2];
  if (extra_) {
    const auto more = extra.split(extra_->n_states(), -1);
    p.B = at::cat({p.B, more[0]}, -1);
    p.C = at::cat({p.C, more[1]}, -1);
  }
  return p;
}

at::Tensor MambaMixerImpl::convolve_and_scan(const at::Tensor& x, const std::optional<at::Tensor>& z,
                                             const std::optional<at::Tensor>& lengths, LayerState& state) {
  const auto small = small_dtype(x);
  const auto conv_weight = conv1d->kernel(small);
  const auto conv_bias = conv1d->bias.defined() ? std::optional<at::Tensor>(conv1d->bias.to(small)) : std::nullopt;
  auto [u, last_conv] = ops::causal_conv1d(x, conv_weight, conv_bias, maybe(state.conv), lengths, /*silu=*/true);

  const auto [delta, B, C] = project(u);
  at::Tensor all_A_log = A_log;
  for (const auto& [name, adapter] : adapters_) all_A_log = adapter->change_A_log(all_A_log);
  if (extra_) all_A_log = at::cat({all_A_log, extra_->A_log}, -1);

  ops::SelectiveScanArgs scan;
  scan.u = u;  // (batch, seqlen, d_inner)
  scan.delta = delta;
  scan.A = -at::exp(all_A_log.to(small));  // (d_inner, d_state)
  scan.B = B;
  scan.C = C;
  scan.D = D.to(small);
  scan.z = z;
  scan.delta_bias = dt_proj->bias.to(small);
  scan.initial_state = maybe(state.scan);
  scan.lengths = lengths;
  scan.delta_softplus = true;
  for (const auto& [name, adapter] : adapters_) adapter->change_scan(scan);
  if (extra_) speak_for_extra_states(scan);
  auto [y, last_scan] = ops::selective_scan(scan);  // (batch, seqlen, d_inner), (batch, d_inner, d_state)

  state.conv = last_conv;
  state.scan = last_scan;
  return y;
}

void MambaMixerImpl::register_child(const std::string& name, std::shared_ptr<torch::nn::Module> module) {
  if (named_children().contains(name)) throw ConfigError(mpeft::str("mixer: has an adapter '", name, "' already"));
  register_module(name, std::move(module));
}

void MambaMixerImpl::attach(const std::string& name, std::shared_ptr<ScanAdapter> adapter,
                            std::shared_ptr<torch::nn::Module> module) {
  register_child(name, std::move(module));
  adapters_.emplace_back(name, std::move(adapter));
}

void MambaMixerImpl::detach(const std::string& name) {
  unregister_module(name);
  std::erase_if(adapters_, [&](const auto& item) { return item.first == name; });
}

void MambaMixerImpl::attach_extra_states(const ExtraStates& extra) {
  register_child("extra_states", extra.ptr());
  extra_ = extra;
}

void MambaMixerImpl::absorb_extra_states() {
  if (!extra_) return;
  const torch::NoGradGuard no_grad;
  const int64_t dt_rank = config_.resolved_dt_rank(), n_old = config_.d_state, n = extra_->n_states();
  const int64_t n_new = n_old + n;
  const at::Tensor rows = extra_->x_proj_rows.to(x_proj->weight.options());
  const at::Tensor& weight = x_proj->weight;
  x_proj->set_rows(at::cat({weight.narrow(0, 0, dt_rank), weight.narrow(0, dt_rank, n_old), rows.narrow(0, 0, n),
                            weight.narrow(0, dt_rank + n_old, n_old), rows.narrow(0, n, n)}),
                   {{"x_proj_dt", 0, dt_rank},
                    {"x_proj_B", dt_rank, dt_rank + n_new},
                    {"x_proj_C", dt_rank + n_new, dt_rank + 2 * n_new}});
  A_log.set_data(at::cat({A_log, extra_->A_log.to(A_log.options())}, 1));
  config_.d_state = n_new;
  unregister_module("extra_states");
  extra_ = ExtraStates(nullptr);
}

}  // namespace mpeft::model
