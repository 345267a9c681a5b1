#pragma once

#include <ATen/core/Generator.h>

#include "peft/lora_config.h"
#include "peft/lora_modules.h"

namespace mpeft::peft {

/// A of PEFT's `init`: kaiming_uniform(a = sqrt(5)), or N(0, 1/rank) for "gaussian". In place.
void init_lora_A(at::Tensor& A, LoraConfig::Init init, const at::Generator& generator);
/// B of PEFT's `init`: zeros, or for `false` as A. In place.
void init_lora_B(at::Tensor& B, LoraConfig::Init init, const at::Generator& generator);

/// PiSSA (Meng et al. 2024): the `rank` first principal components U S V^T of `weight` (rows, in_features) fp32, as
/// scale * B A with B = U sqrt(S / scale) (rows, rank) and A = sqrt(S / scale) V^T (rank, in_features). `niter` < 0: by
/// the exact SVD; else by that many iterations of the randomised one (Halko et al. 2009, algorithm 4.4) from
/// `generator`.
std::pair<at::Tensor, at::Tensor> principal_components(const at::Tensor& weight, int64_t rank, double scale,
                                                       int64_t niter, const at::Generator& generator);

}  // namespace mpeft::peft
