#pragma once

#include <functional>

#include <ATen/ops/cat.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "mpeft/model/mamba_mixer.h"

namespace mpeft::test {

/// What a mixer may do differently from Mamba; each default is Mamba's.
struct MixerVariant {
  at::Tensor conv_state;                               ///< (d_inner, d_conv - 1), oldest first
  at::Tensor initial_state;                            ///< (d_inner, d_state)
  at::Tensor A_log, x_proj;                            ///< in place of the mixer's, with d_state of their own
  std::function<at::Tensor(const at::Tensor&)> B, C;   ///< (1, d_state) of a step -> (d_inner, d_state)
  std::function<at::Tensor(const at::Tensor&)> state;  ///< (d_inner, d_state) as C reads it
  at::Tensor output_offset;                            ///< (d_inner)
};

/// The recurrence of Gu and Dao (2023) for one text in plain steps, on what enters the convolution and the gate:
/// x, z (seqlen, d_inner) -> (seqlen, d_model). An implementation of its own, for tests in fp64.
inline at::Tensor plain_mixer(model::MambaMixerImpl& mixer, const at::Tensor& x, const at::Tensor& z,
                              const MixerVariant& variant = {}) {
  const at::Tensor A = -at::exp(variant.A_log.defined() ? variant.A_log : mixer.A_log);
  const at::Tensor x_proj = variant.x_proj.defined() ? variant.x_proj : mixer.x_proj->weight;
  const int64_t d_inner = A.size(0), d_state = A.size(1), width = mixer.conv1d->weight.size(2);
  const int64_t dt_rank = mixer.dt_proj->weight.size(1);
  const at::Tensor context =
      variant.conv_state.defined() ? variant.conv_state.t() : at::zeros({width - 1, d_inner}, x.options());
  const at::Tensor padded = at::cat({context, x});  // (width - 1 + seqlen, d_inner)
  at::Tensor h = variant.initial_state.defined() ? variant.initial_state : at::zeros({d_inner, d_state}, x.options());
  const auto same = [](const at::Tensor& t) { return t; };
  const auto B_of = variant.B ? variant.B : same, C_of = variant.C ? variant.C : same;
  const auto state_of = variant.state ? variant.state : same;
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < x.size(0); ++t) {
    at::Tensor u = mixer.conv1d->bias.clone();
    for (int64_t k = 0; k < width; ++k) u = u + mixer.conv1d->weight.select(2, k).select(1, 0) * padded[t + k];
    u = at::silu(u);
    const at::Tensor x_dbl = at::linear(u, x_proj);  // (dt_rank + 2 d_state)
    const at::Tensor delta =
        at::softplus(at::linear(x_dbl.narrow(0, 0, dt_rank), mixer.dt_proj->weight) + mixer.dt_proj->bias).unsqueeze(1);
    const at::Tensor B = B_of(x_dbl.narrow(0, dt_rank, d_state).unsqueeze(0));
    const at::Tensor C = C_of(x_dbl.narrow(0, dt_rank + d_state, d_state).unsqueeze(0));
    h = at::exp(delta * A) * h + delta * B * u.unsqueeze(1);
    at::Tensor y = (C * state_of(h)).sum(1) + mixer.D * u;
    if (variant.output_offset.defined()) y = y + variant.output_offset;
    outputs.push_back(at::linear(y * at::silu(z[t]), mixer.out_proj->weight));
  }
  return at::stack(outputs);
}

}  // namespace mpeft::test
