#pragma once

#include "kernels/common/cpu_features.h"
#include "kernels/common/parallel.h"
#include "kernels/rms_norm/rms_norm_params.h"

// defines: rms_norm_fwd_cpu, rms_norm_bwd_cpu

namespace mpeft::kernels {

/// The CPU implementation, for double (the plain loops), float, BFloat16 and Half. Results are bitwise the same
/// whatever parallel_for does, and differ between capabilities by rounding only.
template <typename scalar_t>
void rms_norm_fwd_cpu(const RmsNormFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                      CpuCapability capability = cpu_capability());

template <typename scalar_t>
void rms_norm_bwd_cpu(const RmsNormBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                      CpuCapability capability = cpu_capability());

}  // namespace mpeft::kernels
