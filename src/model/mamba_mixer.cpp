#include "mpeft/model/mamba_mixer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/selective_scan/selective_scan.h"

namespace mpeft::model {

Conv1dImpl::Conv1dImpl(int64_t channels, int64_t width, bool has_bias) {
  weight = register_parameter("weight", at::empty({channels, 1, width}), /*requires_grad=*/false);
  if (has_bias) bias = register_parameter("bias", at::empty({channels}), /*requires_grad=*/false);
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

at::Tensor MambaMixerImpl::forward(const at::Tensor& hidden, const std::optional<at::Tensor>& lengths,
                                   LayerState* state) {
  const int64_t d_inner = config_.d_inner(), dt_rank = config_.resolved_dt_rank(), d_state = config_.d_state;
  const auto maybe = [](const at::Tensor& t) { return t.defined() ? std::optional<at::Tensor>(t) : std::nullopt; };
  // The operators want small parameters in fp32 (fp64 with fp64), whatever the activations are.
  const auto small_dtype = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;

  const at::Tensor xz = in_proj(hidden);                 // (batch, seqlen, 2 d_inner)
  const at::Tensor x = xz.narrow(-1, 0, d_inner);        // (batch, seqlen, d_inner), a view
  const at::Tensor z = xz.narrow(-1, d_inner, d_inner);  // (batch, seqlen, d_inner), a view

  const auto conv_weight = conv1d->weight.view({d_inner, config_.d_conv}).to(small_dtype);
  const auto conv_bias =
      conv1d->bias.defined() ? std::optional<at::Tensor>(conv1d->bias.to(small_dtype)) : std::nullopt;
  const auto conv_state = state != nullptr ? maybe(state->conv) : std::nullopt;
  auto [u, last_conv] = ops::causal_conv1d(x, conv_weight, conv_bias, conv_state, lengths, /*silu=*/true);

  const at::Tensor x_dbl = x_proj(u);  // (batch, seqlen, dt_rank + 2 d_state)

  ops::SelectiveScanArgs scan;
  scan.u = u;                                             // (batch, seqlen, d_inner)
  scan.delta = dt_proj(x_dbl.narrow(-1, 0, dt_rank));     // (batch, seqlen, d_inner)
  scan.A = -at::exp(A_log.to(small_dtype));               // (d_inner, d_state)
  scan.B = x_dbl.narrow(-1, dt_rank, d_state);            // (batch, seqlen, d_state), a view
  scan.C = x_dbl.narrow(-1, dt_rank + d_state, d_state);  // (batch, seqlen, d_state), a view
  scan.D = D.to(small_dtype);
  scan.z = z;
  scan.delta_bias = dt_proj->bias.to(small_dtype);
  scan.initial_state = state != nullptr ? maybe(state->scan) : std::nullopt;
  scan.lengths = lengths;
  scan.delta_softplus = true;
  auto [y, last_scan] = ops::selective_scan(scan);  // (batch, seqlen, d_inner), (batch, d_inner, d_state)

  if (state != nullptr) {
    state->conv = last_conv;
    state->scan = last_scan;
  }
  return out_proj(y);  // (batch, seqlen, d_model)
}

}  // namespace mpeft::model
