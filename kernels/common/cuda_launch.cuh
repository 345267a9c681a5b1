#pragma once

#include <atomic>
#include <cstdint>

#include <cuda_runtime.h>

// defines: device_attribute, multiprocessors, OncePerDevice, compiled_architecture, SharedMemoryGrant, launch_early,
// wait_for_predecessor, let_successor_start
//
// A kernel that follows another in its stream may start while the other's last blocks run, and wait where it needs
// their results (programmatic dependent launch, from sm_90 on): its launch and its set-up then cost nothing.

namespace mpeft::kernels {

/// Of the current device; 0 when it cannot be had.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  return cudaDeviceGetAttribute(&value, attribute, device) == cudaSuccess ? value : 0;
}

/// Of the current device, at least 1.
inline int64_t multiprocessors() {
  const int count = device_attribute(cudaDevAttrMultiProcessorCount);
  return count > 0 ? count : 1;
}

/// An answer that hangs on the current device alone: found once a device (of 64), because asking the runtime takes a
/// tenth of a launch.
class OncePerDevice {
 public:
  /// find: how to find the answer, always the same.
  template <typename Find>
  bool ask(const Find& find) {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
    if ((found_.load(std::memory_order_acquire) & bit) != 0) return (yes_.load(std::memory_order_relaxed) & bit) != 0;
    const bool yes = find();
    if (yes) yes_.fetch_or(bit, std::memory_order_relaxed);
    found_.fetch_or(bit, std::memory_order_release);
    return yes;
  }

 private:
  std::atomic<uint64_t> found_ = 0, yes_ = 0;  ///< a bit a device
};

/// __CUDA_ARCH__ of the code that the current device would run of a kernel: that of its source where it is compiled on
/// the way (PTX). 0 when it cannot be had.
template <typename Kernel>
int compiled_architecture(Kernel kernel) {
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
    cudaGetLastError();  // no code for this device: not an error of what is launched next
    return 0;
  }
  return attributes.ptxVersion * 10;
}

/// Leave for one kernel to take more dynamic shared memory than 48 KiB: the runtime is asked once a device, because
/// asking takes a tenth of a launch.
class SharedMemoryGrant {
 public:
  /// Always the same kernel and bytes. Devices from number 64 on are asked every time.
  template <typename Kernel>
  cudaError_t ask(Kernel kernel, int bytes) {
    int device = 0;
    if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
    const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
    if ((granted_.load(std::memory_order_relaxed) & bit) != 0) return cudaSuccess;
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error == cudaSuccess) granted_.fetch_or(bit, std::memory_order_relaxed);
    return error;
  }

 private:
  std::atomic<uint64_t> granted_ = 0;  ///< a bit a device
};

/// In a kernel that launch_early started: everything before it in the stream is complete and visible from here on.
__device__ __forceinline__ void wait_for_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

/// Once every block has said this, a kernel behind that launch_early started may take free places.
__device__ __forceinline__ void let_successor_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

/// Launches a kernel that calls wait_for_predecessor before it reads what the kernel before it wrote; early where its
/// code waits. (Not where the device could: what is compiled on the way from older PTX does not wait. Asked once for
/// all kernels of these parameters: the program compiles all of its kernels for the same architectures.)
template <typename... Parameters, typename... Arguments>
cudaError_t launch_early(void (*kernel)(Parameters...), dim3 grid, int threads, int shared_bytes, cudaStream_t stream,
                         const Arguments&... arguments) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &early;
  static OncePerDevice waits;
  config.numAttrs = waits.ask([kernel] { return compiled_architecture(kernel) >= 900; }) ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

}  // namespace mpeft::kernels
