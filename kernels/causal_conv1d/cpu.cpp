#include "kernels/causal_conv1d/cpu.h"

#include "kernels/causal_conv1d/reference.h"
#include "kernels/common/half.h"

namespace mpeft::kernels {

template <typename scalar_t>
void causal_conv1d_fwd_cpu(const CausalConv1dFwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  causal_conv1d_fwd_reference(p);
}

template <typename scalar_t>
void causal_conv1d_bwd_cpu(const CausalConv1dBwdParams<scalar_t>& p, const ParallelFor&, CpuCapability) {
  causal_conv1d_bwd_reference(p);
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
