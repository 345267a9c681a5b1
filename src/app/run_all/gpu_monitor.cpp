#include "app/run_all/gpu_monitor.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <dlfcn.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::app {
namespace {

// The part of nvml.h that is used: its names and layouts are a stable interface of the driver.
using NvmlDevice = void*;
struct NvmlMemory {
  unsigned long long total, free, used;
};
struct NvmlProcess {  // nvmlProcessInfo_v2_t
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};
constexpr int kNvmlSuccess = 0, kNvmlInsufficientSize = 7;
constexpr const char* kLibrary = "libnvidia-ml.so.1";

// What the driver itself holds on an idle card (some hundred MiB on large ones), with room.
constexpr uint64_t kIdleBytes = uint64_t{1} << 30;

template <typename Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr) throw ConfigError(mpeft::str("--wait_gpu_free: ", kLibrary, " has no ", name));
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 4 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

struct GpuMonitor::Library {
  void* handle = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_text)(int) = nullptr;
  int (*by_index)(unsigned, NvmlDevice*) = nullptr;
  int (*by_uuid)(const char*, NvmlDevice*) = nullptr;
  int (*memory)(NvmlDevice, NvmlMemory*) = nullptr;
  int (*processes)(NvmlDevice, unsigned*, NvmlProcess*) = nullptr;

  ~Library() {
    if (handle != nullptr) ::dlclose(handle);
  }
  void check(int result, const std::string& what) const {
    if (result != kNvmlSuccess) throw ConfigError(mpeft::str("--wait_gpu_free: ", what, ": ", error_text(result)));
  }
};

GpuMonitor::GpuMonitor() : library_(std::make_unique<Library>()) {
  Library& nvml = *library_;
  nvml.handle = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (nvml.handle == nullptr) {
    throw ConfigError(mpeft::str("--wait_gpu_free: there is no NVIDIA driver here (", kLibrary,
                                 " is not found); leave the flag away, or name the processor: --device cpu"));
  }
  find(nvml.handle, "nvmlInit_v2", nvml.init);
  find(nvml.handle, "nvmlShutdown", nvml.shutdown);
  find(nvml.handle, "nvmlErrorString", nvml.error_text);
  find(nvml.handle, "nvmlDeviceGetHandleByIndex_v2", nvml.by_index);
  find(nvml.handle, "nvmlDeviceGetHandleByUUID", nvml.by_uuid);
  find(nvml.handle, "nvmlDeviceGetMemoryInfo", nvml.memory);
  find(nvml.handle, "nvmlDeviceGetComputeRunningProcesses_v2", nvml.processes);
  nvml.check(nvml.init(), "the NVIDIA driver does not answer");
}

GpuMonitor::~GpuMonitor() { library_->shutdown(); }

std::string GpuMonitor::used_by(const std::string& device) const {
  const Library& nvml = *library_;
  const std::string gpu = physical_gpu(device, std::getenv("CUDA_VISIBLE_DEVICES"));
  if (gpu.empty()) throw ConfigError(mpeft::str("--device ", device, ": CUDA_VISIBLE_DEVICES hides it"));
  NvmlDevice handle = nullptr;
  nvml.check(is_number(gpu) ? nvml.by_index(static_cast<unsigned>(std::stoul(gpu)), &handle)
                            : nvml.by_uuid(gpu.c_str(), &handle),
             "GPU " + gpu);
  std::array<NvmlProcess, 64> processes{};
  unsigned n_processes = processes.size();
  const int result = nvml.processes(handle, &n_processes, processes.data());
  if (result != kNvmlInsufficientSize) nvml.check(result, "processes of GPU " + gpu);
  n_processes = std::min<unsigned>(n_processes, processes.size());
  NvmlMemory memory{};
  nvml.check(nvml.memory(handle, &memory), "memory of GPU " + gpu);
  // Processes of another container are not listed, their memory is.
  if (n_processes == 0 && memory.used < kIdleBytes) return "";
  const std::string used = human_bytes(memory.used);
  return n_processes == 0
             ? used + " in use"
             : mpeft::str("process ", processes[0].pid,
                          n_processes > 1 ? mpeft::str(" and ", n_processes - 1, " more") : "", ", ", used, " in use");
}

std::string physical_gpu(const std::string& device, const char* visible_devices) {
  if (visible_devices == nullptr) return device;
  const auto visible = split(visible_devices, ',');
  const size_t index = is_number(device) ? std::stoul(device) : visible.size();
  // CUDA stops at the first entry that is none: what comes after it is hidden.
  for (size_t i = 0; i < visible.size() && i <= index; ++i) {
    const std::string entry(trim(visible[i]));
    const bool is_gpu = is_number(entry) || entry.starts_with("GPU-") || entry.starts_with("MIG-");
    if (!is_gpu) return "";
    if (i == index) return entry;
  }
  return "";
}

}  // namespace mpeft::app
