#include "peft/lora_init.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>

#include "mpeft/core/check.h"

namespace mpeft::peft {
namespace {

void uniform_fan_in(at::Tensor& t, const at::Generator& generator) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(t.size(1)));
  t.uniform_(-bound, bound, generator);
}

// An orthonormal basis (rows, rank) of about the range of the first `rank` components.
at::Tensor approximate_range(const at::Tensor& weight, int64_t rank, int64_t niter, const at::Generator& generator) {
  const auto basis = [](const at::Tensor& t) { return std::get<0>(at::linalg_qr(t)); };
  at::Tensor q = basis(at::mm(weight, at::randn({weight.size(1), rank}, generator, weight.options())));
  for (int64_t i = 0; i < niter; ++i) q = basis(at::mm(weight, basis(at::mm(weight.t(), q))));
  return q;
}

}  // namespace

void init_lora_A(at::Tensor& A, LoraConfig::Init init, const at::Generator& generator) {
  if (init == LoraConfig::Init::kGaussian) {
    A.normal_(0, 1.0 / static_cast<double>(A.size(0)), generator);
  } else {
    uniform_fan_in(A, generator);
  }
}

void init_lora_B(at::Tensor& B, LoraConfig::Init init, const at::Generator& generator) {
  if (init == LoraConfig::Init::kRandom) uniform_fan_in(B, generator);
}

std::pair<at::Tensor, at::Tensor> principal_components(const at::Tensor& weight, int64_t rank, double scale,
                                                       int64_t niter, const at::Generator& generator) {
  MPEFT_ASSERT(rank <= std::min(weight.size(0), weight.size(1)), "more components than the weight has");
  at::Tensor U, S, Vh;
  if (niter < 0) {
    std::tie(U, S, Vh) = at::linalg_svd(weight, /*full_matrices=*/false);
  } else {
    const at::Tensor q = approximate_range(weight, rank, niter, generator);
    std::tie(U, S, Vh) = at::linalg_svd(at::mm(q.t(), weight), /*full_matrices=*/false);
    U = at::mm(q, U);
  }
  const at::Tensor root = (S.narrow(0, 0, rank) / scale).sqrt();  // (rank)
  return {root.unsqueeze(1) * Vh.narrow(0, 0, rank), U.narrow(1, 0, rank) * root};
}

}  // namespace mpeft::peft
