#pragma once

#include "kernels/common/cpu_features.h"
#include "kernels/common/parallel.h"
#include "kernels/cross_entropy/cross_entropy_params.h"

// defines: cross_entropy_fwd_cpu, cross_entropy_bwd_cpu

namespace mpeft::kernels {

/// The CPU implementation, for double (the plain loops), float, BFloat16 and Half. Results are bitwise the same
/// whatever parallel_for does, and differ between capabilities by rounding only.
template <typename scalar_t>
void cross_entropy_fwd_cpu(const CrossEntropyFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability = cpu_capability());

template <typename scalar_t>
void cross_entropy_bwd_cpu(const CrossEntropyBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                           CpuCapability capability = cpu_capability());

}  // namespace mpeft::kernels
