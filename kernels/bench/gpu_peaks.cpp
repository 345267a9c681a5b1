#include "kernels/bench/gpu_peaks.h"

#ifdef MPEFT_HAS_CUDA
#include <c10/cuda/CUDAException.h>
#include <cuda_runtime.h>
#endif

namespace mpeft::ops {
namespace {

#ifdef MPEFT_HAS_CUDA
/// Floating-point operations a clock and multiprocessor, dense.
double flops_per_clock(int major, int minor, at::ScalarType dtype) {
  if (dtype != at::kBFloat16 && dtype != at::kHalf) return 256;  // 128 fused multiply-adds
  if (major == 8 && minor == 0) return 2048;
  if (major == 9) return 4096;
  if (major == 10) return 8192;
  return 1024;  // consumer parts of compute capability 8.6, 8.9, 12
}
#endif

}  // namespace

GpuPeaks gpu_peaks([[maybe_unused]] at::Device device, [[maybe_unused]] at::ScalarType dtype) {
  GpuPeaks peaks;
#ifdef MPEFT_HAS_CUDA
  if (!device.is_cuda()) return peaks;
  const int index = device.has_index() ? device.index() : 0;
  const auto attribute = [&](cudaDeviceAttr name) {
    int value = 0;
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, index));
    return value;
  };
  const double clocks =
      static_cast<double>(attribute(cudaDevAttrClockRate)) * attribute(cudaDevAttrMultiProcessorCount);
  peaks.bytes = 0.9 * 2.0 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8;
  peaks.exponentials = 16 * clocks;
  peaks.instructions = 128 * clocks;
  peaks.flops = clocks * flops_per_clock(attribute(cudaDevAttrComputeCapabilityMajor),
                                         attribute(cudaDevAttrComputeCapabilityMinor), dtype);
#endif
  return peaks;
}

}  // namespace mpeft::ops
