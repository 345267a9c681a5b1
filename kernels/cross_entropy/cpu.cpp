#include "kernels/cross_entropy/cpu.h"

#include <type_traits>

#include "kernels/common/half.h"
#include "kernels/cross_entropy/cpu_tasks.h"
#include "kernels/cross_entropy/reference.h"

namespace mpeft::kernels {
namespace {

template <typename scalar_t>
CrossEntropyTasks<scalar_t> tasks_for([[maybe_unused]] CpuCapability capability) {
#if defined(__x86_64__)
  if (capability == CpuCapability::kAvx512) return cross_entropy_tasks_avx512<scalar_t>();
  if (capability == CpuCapability::kAvx2) return cross_entropy_tasks_avx2<scalar_t>();
#endif
  return cross_entropy_tasks_baseline<scalar_t>();
}

}  // namespace

template <typename scalar_t>
void cross_entropy_fwd_cpu(const CrossEntropyFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    cross_entropy_fwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    parallel_for(p.rows, [&](int64_t begin, int64_t end) { tasks.fwd(p, begin, end); });
  }
}

template <typename scalar_t>
void cross_entropy_bwd_cpu(const CrossEntropyBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    cross_entropy_bwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    parallel_for(p.rows, [&](int64_t begin, int64_t end) { tasks.bwd(p, begin, end); });
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                               \
  template void cross_entropy_fwd_cpu(const CrossEntropyFwdParams<scalar_t>&, const ParallelFor&, CpuCapability); \
  template void cross_entropy_bwd_cpu(const CrossEntropyBwdParams<scalar_t>&, const ParallelFor&, CpuCapability);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
