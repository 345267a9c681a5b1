#pragma once

namespace mpeft::kernels {

/// Vector instructions the CPU kernels are built for, best last.
enum class CpuCapability { kBaseline, kAvx2, kAvx512 };

/// What this processor can run, or less when the environment says so (MPEFT_CPU_CAPABILITY=baseline|avx2|avx512: for
/// tests).
CpuCapability cpu_capability();

/// "baseline", "avx2", "avx512".
const char* to_string(CpuCapability capability);

}  // namespace mpeft::kernels
