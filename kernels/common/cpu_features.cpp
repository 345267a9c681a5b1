#include "kernels/common/cpu_features.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>

namespace mpeft::kernels {
namespace {

CpuCapability detect() {
  auto best = CpuCapability::kBaseline;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    best = CpuCapability::kAvx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      best = CpuCapability::kAvx512;
    }
  }
#endif
  if (const char* wanted = std::getenv("MPEFT_CPU_CAPABILITY")) {
    const std::string_view name(wanted);
    if (name == "baseline") return CpuCapability::kBaseline;
    if (name == "avx2") return std::min(best, CpuCapability::kAvx2);
  }
  return best;
}

// A CpuCapability, or kNoLimit.
constexpr int kNoLimit = static_cast<int>(CpuCapability::kAvx512);
std::atomic<int> limit{kNoLimit};

}  // namespace

CpuCapability cpu_capability() {
  static const CpuCapability capability = detect();
  return std::min(capability, static_cast<CpuCapability>(limit.load(std::memory_order_relaxed)));
}

ScopedCpuCapability::ScopedCpuCapability(CpuCapability capability)
    : previous_(limit.exchange(static_cast<int>(capability))) {}

ScopedCpuCapability::~ScopedCpuCapability() { limit.store(previous_); }

const char* to_string(CpuCapability capability) {
  switch (capability) {
    case CpuCapability::kAvx512:
      return "avx512";
    case CpuCapability::kAvx2:
      return "avx2";
    case CpuCapability::kBaseline:
      break;
  }
  return "baseline";
}

}  // namespace mpeft::kernels
