#include <ATen/ops/exp.h>
#include <ATen/ops/index_select.h>

#include "kernels/decode_step/decode_step.h"
#include "mpeft/model/mamba_mixer.h"

namespace mpeft::model {

at::Tensor MambaMixerImpl::scan_A() const { return -at::exp(A_log.to(at::kFloat)); }

at::Tensor MambaMixerImpl::step(const at::Tensor& hidden, const LayerState& from, LayerState& to,
                                const std::optional<at::Tensor>& parents, const at::Tensor& A) {
  const auto dtype = hidden.scalar_type();
  if (!adapters_.empty() || extra_) {  // whatever they do: the operators for whole sequences, with one step
    const auto rows = [&](const at::Tensor& t) { return parents ? at::index_select(t, 0, *parents) : t; };
    LayerState state{rows(from.conv), rows(from.scan)};
    const at::Tensor out = forward(hidden.unsqueeze(1), std::nullopt, &state).squeeze(1);
    to.conv.copy_(state.conv);
    to.scan.copy_(state.scan);
    return out;
  }

  const int64_t d_inner = config_.d_inner(), dt_rank = config_.resolved_dt_rank();
  const at::Tensor conv_weight = conv1d->kernel(at::kFloat);  // (d_inner, d_conv)
  std::optional<at::Tensor> conv_bias;
  if (conv1d->bias.defined()) conv_bias = conv1d->bias.to(at::kFloat);
  at::Tensor u, z;  // 2 x (rows, d_inner)
  if (in_proj->is_plain(dtype)) {
    std::tie(u, z) =
        ops::decode_in_proj_conv(hidden, in_proj->weight, conv_weight, conv_bias, from.conv, to.conv, parents);
  } else {
    const at::Tensor xz = in_proj->step(hidden);  // (rows, 2 d_inner)
    u = ops::decode_conv(xz.narrow(1, 0, d_inner), conv_weight, conv_bias, from.conv, to.conv, parents);
    z = xz.narrow(1, d_inner, d_inner);
  }
  const at::Tensor x_dbl = x_proj->step(u);  // (rows, dt_rank + 2 d_state)
  std::optional<at::Tensor> dt_weight, delta;
  if (dt_proj->is_plain(dtype)) {
    dt_weight = dt_proj->weight;
  } else {
    delta = dt_proj(x_dbl.narrow(1, 0, dt_rank));  // (rows, d_inner)
  }
  const at::Tensor y = ops::decode_scan(u, z, x_dbl, dt_weight, delta, dt_proj->bias.to(at::kFloat), A,
                                        D.to(at::kFloat), from.scan, to.scan, parents);
  return out_proj->step(y);  // (rows, d_model)
}

}  // namespace mpeft::model
