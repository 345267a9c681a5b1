#include "app/run_all/devices.h"

#include <algorithm>
#include <cerrno>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::app {
namespace {

constexpr int kMostGpus = 250;  // what an exit code can say

// Of the driver's interface for programs, as LibTorch counts.
int ask_driver() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return 0;
  const auto init = reinterpret_cast<int (*)(unsigned)>(::dlsym(driver, "cuInit"));
  const auto get_count = reinterpret_cast<int (*)(int*)>(::dlsym(driver, "cuDeviceGetCount"));
  int count = 0;
  const bool ok = init != nullptr && get_count != nullptr && init(0) == 0 && get_count(&count) == 0;
  return ok ? std::clamp(count, 0, kMostGpus) : 0;
}

constexpr unsigned kFewCores = 4;

bool is_number(const std::string& device) {
  return !device.empty() && device.size() <= 3 && device.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

std::optional<int64_t> count_gpus() {
  const pid_t child = ::fork();
  if (child < 0) return std::nullopt;
  if (child == 0) ::_exit(ask_driver());
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return std::nullopt;  // a parent that ignores SIGCHLD: the kernel keeps no status
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

bool built_with_cuda() {
#ifdef MPEFT_HAS_CUDA
  return true;
#else
  return false;
#endif
}

void check_device_names(std::vector<std::string>& devices) {
  if (devices.empty()) devices = {"auto"};
  for (const auto& device : devices) {
    if (!is_number(device) && device != "cpu" && device != "auto")
      throw ConfigError(mpeft::str("--device: expected numbers of GPUs or cpu, got '", device, "'"));
  }
}

void require_devices(const std::vector<std::string>& devices, bool with_cuda, std::optional<int64_t> (*count)()) {
  std::vector<std::string> gpus;
  for (const auto& device : devices) {
    if (is_number(device) && std::ranges::find(gpus, device) == gpus.end()) gpus.push_back(device);
  }
  if (gpus.empty()) return;
  if (!with_cuda) {
    throw ConfigError(mpeft::str("--device ", join(gpus, " "),
                                 ": this build has no CUDA kernels; build with scripts/build.sh cuda, or use "
                                 "--device cpu"));
  }
  const auto counted = count();
  if (!counted) return;
  const int64_t n = *counted;
  std::erase_if(gpus, [&](const std::string& gpu) { return std::stoll(gpu) < n; });
  if (gpus.empty()) return;
  const std::string there = n == 0   ? "no GPU is usable here (nvidia-smi shows what the driver sees)"
                            : n == 1 ? "there is one GPU, 0"
                                     : mpeft::str("there are ", n, " GPUs, 0 to ", n - 1);
  throw ConfigError(mpeft::str("--device ", join(gpus, " "), ": ", there, "; --device cpu runs on the processor"));
}

bool auto_is_processor(bool with_cuda, std::optional<int64_t> (*count)()) { return !with_cuda || count() == 0; }

std::vector<std::string> processor_environment(unsigned n_cores, unsigned n_workers,
                                               const std::function<bool(const char* name)>& is_set) {
  std::vector<std::string> result;
  if (n_workers > 1 && !is_set("OMP_NUM_THREADS"))
    result.push_back(mpeft::str("OMP_NUM_THREADS=", std::max(1U, n_cores / n_workers)));
  if (n_cores <= kFewCores && !is_set("GOMP_SPINCOUNT") && !is_set("OMP_WAIT_POLICY"))
    result.emplace_back("GOMP_SPINCOUNT=1000");
  return result;
}

}  // namespace mpeft::app
