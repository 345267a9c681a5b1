#pragma once

#include "kernels/causal_conv1d/causal_conv1d_params.h"
#include "kernels/common/cpu_features.h"
#include "kernels/common/parallel.h"

// defines: causal_conv1d_fwd_cpu, causal_conv1d_bwd_cpu

namespace mpeft::kernels {

/// The CPU implementation, for double (the plain loops), float, BFloat16 and Half. Results are bitwise the same
/// whatever parallel_for does, and differ between capabilities by rounding only.
template <typename scalar_t>
void causal_conv1d_fwd_cpu(const CausalConv1dFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability = cpu_capability());

template <typename scalar_t>
void causal_conv1d_bwd_cpu(const CausalConv1dBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability = cpu_capability());

}  // namespace mpeft::kernels
