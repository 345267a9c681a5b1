#include "kernels/selective_scan/cpu.h"

#include "kernels/common/half.h"
#include "kernels/selective_scan/reference.h"

namespace mpeft::kernels {

template <typename scalar_t>
void selective_scan_fwd_cpu(const SelectiveScanFwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  selective_scan_fwd_reference(p);
}

template <typename scalar_t>
void selective_scan_bwd_cpu(const SelectiveScanBwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  selective_scan_bwd_reference(p);
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                                 \
  template void selective_scan_fwd_cpu(const SelectiveScanFwdParams<scalar_t>&, const ParallelFor&, CpuCapability); \
  template void selective_scan_bwd_cpu(const SelectiveScanBwdParams<scalar_t>&, const ParallelFor&, CpuCapability);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
