#include "mpeft/model/init.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>

#include "mpeft/core/random.h"

namespace mpeft::model {
namespace {

// torch.nn.Linear's and Conv1d's default: uniform(±1/sqrt(fan_in)), which is kaiming_uniform(a = sqrt(5)).
void uniform_fan_in(at::Tensor& weight, int64_t fan_in, const at::Generator& generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(fan_in));
  weight.uniform_(-bound, bound, generator);
}

void init_mixer(MambaMixerImpl& mixer, const MambaConfig& config, const at::Generator& generator) {
  const int64_t d_inner = config.d_inner(), dt_rank = config.resolved_dt_rank();
  uniform_fan_in(mixer.in_proj->weight, config.d_model, generator);
  if (mixer.in_proj->bias.defined()) mixer.in_proj->bias.zero_();
  uniform_fan_in(mixer.conv1d->weight, config.d_conv, generator);
  if (mixer.conv1d->bias.defined()) uniform_fan_in(mixer.conv1d->bias, config.d_conv, generator);
  uniform_fan_in(mixer.x_proj->weight, d_inner, generator);

  uniform_fan_in(mixer.dt_proj->weight, dt_rank, generator);
  // softplus(bias) is log-uniform in [1e-3, 0.1]: the bias is softplus's inverse, dt + log(1 - exp(-dt)).
  const double low = std::log(1e-3), high = std::log(0.1);
  at::Tensor dt = at::empty({d_inner}, at::kDouble).uniform_(low, high, generator).exp().clamp_min(1e-4);
  mixer.dt_proj->bias.copy_(dt + at::log(-at::expm1(-dt)));

  const at::Tensor states = at::arange(1, config.d_state + 1, at::kDouble);
  mixer.A_log.copy_(states.log().unsqueeze(0).expand({d_inner, config.d_state}));
  mixer.D.fill_(1.0);

  uniform_fan_in(mixer.out_proj->weight, d_inner, generator);
  // One residual addition a layer: the sum over layers keeps its variance (GPT-2's scheme, as upstream).
  mixer.out_proj->weight.div_(std::sqrt(static_cast<double>(config.n_layer)));
  if (mixer.out_proj->bias.defined()) mixer.out_proj->bias.zero_();
}

}  // namespace

void init_parameters(MambaLM& model, uint64_t seed) {
  const torch::NoGradGuard no_grad;
  auto generator = at::detail::createCPUGenerator(derive_seed(seed, "init"));
  auto& backbone = *model->backbone;
  backbone.embeddings->weight.normal_(0.0, 0.02, generator);
  for (auto& block : backbone.layers) {
    block->norm->weight.fill_(1.0);
    init_mixer(*block->mixer, model->config(), generator);
  }
  backbone.norm_f->weight.fill_(1.0);
  if (!model->config().tie_embeddings) uniform_fan_in(model->lm_head->weight, model->config().d_model, generator);
}

}  // namespace mpeft::model
