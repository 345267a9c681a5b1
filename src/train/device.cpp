#include "mpeft/train/device.h"

#include <array>
#include <dlfcn.h>
#include <sys/resource.h>

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include "kernels/common/cpu_features.h"
#include "kernels/registration.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {

at::Device resolve_device(const std::string& name) {
  const bool usable = ops::built_with_cuda() && at::hasCUDA();
  const int64_t count = usable ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (name.empty()) return count > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  if (name == "cpu") return at::kCPU;
  const std::string digits = name.starts_with("cuda:") ? name.substr(5) : name;
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos) {
    throw ConfigError(mpeft::str("--device: expected cpu or the number of a GPU, got '", name, "'"));
  }
  const int64_t index = std::stoll(digits);
  if (!ops::built_with_cuda()) {
    throw ConfigError(mpeft::str(
        "--device ", name, ": this build has no CUDA kernels; build with scripts/build.sh cuda, or use --device cpu"));
  }
  if (index >= count) {
    throw ConfigError(mpeft::str("--device ", name, ": ",
                                 count == 0 ? "no GPU is usable here (nvidia-smi shows what the driver sees)"
                                            : mpeft::str("there are ", count, " GPUs, 0 to ", count - 1),
                                 "; --device cpu runs on the processor"));
  }
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

namespace {

// Name and memory of a GPU, as the driver says them: LibTorch's interface has them only with CUDA's headers. The
// driver's library is in the process already, as LibTorch computes with it; its numbers are those of the runtime.
std::string gpu_text(int index) {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "";
  const auto get_name = reinterpret_cast<int (*)(char*, int, int)>(::dlsym(driver, "cuDeviceGetName"));
  const auto get_memory = reinterpret_cast<int (*)(size_t*, int)>(::dlsym(driver, "cuDeviceTotalMem_v2"));
  std::array<char, 128> name{};
  size_t bytes = 0;
  const bool ok = get_name != nullptr && get_memory != nullptr && get_name(name.data(), name.size() - 1, index) == 0 &&
                  get_memory(&bytes, index) == 0;
  ::dlclose(driver);
  return ok ? mpeft::str(name.data(), " (", human_bytes(bytes), ")") : "";
}

}  // namespace

std::string describe_device(at::Device device) {
  if (device.is_cpu())
    return mpeft::str("CPU, ", at::get_num_threads(), " threads, ", kernels::to_string(kernels::cpu_capability()));
  const int64_t cuda = at::detail::getCUDAHooks().versionCUDART();
  return mpeft::str(device.str(), "   ", gpu_text(device.index()), "   CUDA ", cuda / 1000, ".", cuda % 1000 / 10);
}

uint64_t peak_memory_bytes(at::Device device) {
  if (device.is_cpu()) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  }
  const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return static_cast<uint64_t>(stats.allocated_bytes[0].peak);
}

void synchronize(at::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

void seed_generators(at::Device device, uint64_t seed) {
  const auto reseed = [&](at::Generator generator) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_current_seed(seed);
  };
  reseed(at::globalContext().defaultGenerator(at::kCPU));
  if (device.is_cuda()) reseed(at::globalContext().defaultGenerator(device));
}

}  // namespace mpeft::train
