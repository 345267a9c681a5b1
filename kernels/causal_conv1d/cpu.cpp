#include "kernels/causal_conv1d/cpu.h"

#include <optional>
#include <type_traits>

#include "kernels/causal_conv1d/cpu_tasks.h"
#include "kernels/causal_conv1d/reference.h"
#include "kernels/common/cpu_partition.h"
#include "kernels/common/half.h"

namespace mpeft::kernels {
namespace {

template <typename scalar_t>
CausalConv1dTasks<scalar_t> tasks_for([[maybe_unused]] CpuCapability capability) {
#if defined(__x86_64__)
  if (capability == CpuCapability::kAvx512) return causal_conv1d_tasks_avx512<scalar_t>();
  if (capability == CpuCapability::kAvx2) return causal_conv1d_tasks_avx2<scalar_t>();
#endif
  return causal_conv1d_tasks_baseline<scalar_t>();
}

}  // namespace

template <typename scalar_t>
void causal_conv1d_fwd_cpu(const CausalConv1dFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    causal_conv1d_fwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    const int64_t chunks = n_parts(p.d_inner, kConvChunk);
    for_each_task(parallel_for, p.batch * chunks, tasks.scratch,
                  [&](int64_t i, float* scratch) { tasks.fwd(p, i / chunks, i % chunks, scratch); });
  }
}

template <typename scalar_t>
void causal_conv1d_bwd_cpu(const CausalConv1dBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    causal_conv1d_bwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    const int64_t chunks = n_parts(p.d_inner, kConvChunk);
    std::optional<AlignedBuffer> dweight, dbias;
    CausalConv1dPartials partials;
    partials.dweight = allocate_if(p.dweight != nullptr, p.batch * p.d_inner * p.width, dweight);
    partials.dbias = allocate_if(p.dbias != nullptr, p.batch * p.d_inner, dbias);
    for_each_task(parallel_for, p.batch * chunks, tasks.scratch,
                  [&](int64_t i, float* scratch) { tasks.bwd(p, partials, i / chunks, i % chunks, scratch); });
    sum_rows(partials.dweight, p.batch, p.d_inner * p.width, p.dweight, parallel_for);
    sum_rows(partials.dbias, p.batch, p.d_inner, p.dbias, parallel_for);
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                               \
  template void causal_conv1d_fwd_cpu(const CausalConv1dFwdParams<scalar_t>&, const ParallelFor&, CpuCapability); \
  template void causal_conv1d_bwd_cpu(const CausalConv1dBwdParams<scalar_t>&, const ParallelFor&, CpuCapability);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
