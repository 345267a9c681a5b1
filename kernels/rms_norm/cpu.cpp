#include "kernels/rms_norm/cpu.h"

#include "kernels/common/half.h"
#include "kernels/rms_norm/reference.h"

namespace mpeft::kernels {

template <typename scalar_t>
void rms_norm_fwd_cpu(const RmsNormFwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  rms_norm_fwd_reference(p);
}

template <typename scalar_t>
void rms_norm_bwd_cpu(const RmsNormBwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  rms_norm_bwd_reference(p);
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
