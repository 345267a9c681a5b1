#pragma once

#include <memory>
#include <string>

namespace mpeft::app {

/// Who uses the GPUs, as the driver's management library says (NVML, loaded when it is asked for: nothing is linked).
class GpuMonitor {
 public:
  /// Throws ConfigError when there is no NVIDIA driver here, or it does not answer.
  GpuMonitor();
  ~GpuMonitor();
  GpuMonitor(const GpuMonitor&) = delete;
  GpuMonitor& operator=(const GpuMonitor&) = delete;

  /// "" when nobody computes on the GPU and its memory is as good as empty; else by whom it is used. `device`: its
  /// number as programs count, that is, after CUDA_VISIBLE_DEVICES. Throws ConfigError when there is no such GPU.
  std::string used_by(const std::string& device) const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

/// The GPU that number `device` means under this value of CUDA_VISIBLE_DEVICES (nullptr: not set): an index ("3") or a
/// UUID ("GPU-…"). "" when the variable hides it.
std::string physical_gpu(const std::string& device, const char* visible_devices);

}  // namespace mpeft::app
