#include "kernels/rms_norm/cpu.h"

#include <optional>
#include <type_traits>

#include "kernels/common/cpu_partition.h"
#include "kernels/common/half.h"
#include "kernels/rms_norm/cpu_tasks.h"
#include "kernels/rms_norm/reference.h"

namespace mpeft::kernels {
namespace {

template <typename scalar_t>
RmsNormTasks<scalar_t> tasks_for([[maybe_unused]] CpuCapability capability) {
#if defined(__x86_64__)
  if (capability == CpuCapability::kAvx512) return rms_norm_tasks_avx512<scalar_t>();
  if (capability == CpuCapability::kAvx2) return rms_norm_tasks_avx2<scalar_t>();
#endif
  return rms_norm_tasks_baseline<scalar_t>();
}

}  // namespace

template <typename scalar_t>
void rms_norm_fwd_cpu(const RmsNormFwdParams<scalar_t>& p, const ParallelFor& parallel_for, CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    rms_norm_fwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    for_each_task(parallel_for, n_parts(p.rows, kNormRows), 0, [&](int64_t block, float*) { tasks.fwd(p, block); });
  }
}

template <typename scalar_t>
void rms_norm_bwd_cpu(const RmsNormBwdParams<scalar_t>& p, const ParallelFor& parallel_for, CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    rms_norm_bwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    const int64_t blocks = n_parts(p.rows, kNormRows);
    std::optional<AlignedBuffer> buffer;
    float* const dweight = allocate_if(p.dweight != nullptr, blocks * p.d_model, buffer);
    for_each_task(parallel_for, blocks, 0, [&](int64_t block, float*) { tasks.bwd(p, block, dweight); });
    sum_rows(dweight, blocks, p.d_model, p.dweight, parallel_for);
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                     \
  template void rms_norm_fwd_cpu(const RmsNormFwdParams<scalar_t>&, const ParallelFor&, CpuCapability); \
  template void rms_norm_bwd_cpu(const RmsNormBwdParams<scalar_t>&, const ParallelFor&, CpuCapability);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
