#pragma once

// defines: CpuCapability, cpu_capability, ScopedCpuCapability

namespace mpeft::kernels {

/// Vector instructions the CPU kernels are built for, best last.
enum class CpuCapability { kBaseline, kAvx2, kAvx512 };

/// What this processor can run, or less when the environment says so (MPEFT_CPU_CAPABILITY=baseline|avx2|avx512, read
/// once) or a ScopedCpuCapability lives.
CpuCapability cpu_capability();

/// "baseline", "avx2", "avx512".
const char* to_string(CpuCapability capability);

/// While it lives, the kernels of every thread use at most this capability: tests compare the implementations in one
/// process. What the processor lacks is never used.
class ScopedCpuCapability {
 public:
  explicit ScopedCpuCapability(CpuCapability capability);
  ~ScopedCpuCapability();
  ScopedCpuCapability(const ScopedCpuCapability&) = delete;
  ScopedCpuCapability& operator=(const ScopedCpuCapability&) = delete;

 private:
  int previous_;
};

}  // namespace mpeft::kernels
