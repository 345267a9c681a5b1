#pragma once

#include "kernels/common/cpu_features.h"
#include "kernels/common/parallel.h"
#include "kernels/selective_scan/selective_scan_params.h"

// defines: selective_scan_fwd_cpu, selective_scan_bwd_cpu

namespace mpeft::kernels {

/// Steps between two of the states that a forward on the CPU keeps for its backward.
inline constexpr int64_t kCpuCheckpointEvery = 16;

/// The CPU implementation, for double (the plain loops), float, BFloat16 and Half. Results are bitwise the same
/// whatever parallel_for does, and differ between capabilities by rounding only.
template <typename scalar_t>
void selective_scan_fwd_cpu(const SelectiveScanFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                            CpuCapability capability = cpu_capability());

template <typename scalar_t>
void selective_scan_bwd_cpu(const SelectiveScanBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                            CpuCapability capability = cpu_capability());

}  // namespace mpeft::kernels
