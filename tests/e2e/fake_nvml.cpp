// Stands in for the driver's management library: one GPU, used by process 4242 while the file that FAKE_NVML_BUSY names
// is there, and by as many bytes as FAKE_NVML_USED says.

#include <cstdlib>
#include <unistd.h>

extern "C" {

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }
const char* nvmlErrorString(int code) { return code == 6 ? "Not Found" : "Unknown Error"; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = nullptr;
  return index == 0 ? 0 : 6;
}
int nvmlDeviceGetHandleByUUID(const char*, void**) { return 6; }

int nvmlDeviceGetMemoryInfo(void*, unsigned long long* total_free_used) {
  const char* used = std::getenv("FAKE_NVML_USED");
  total_free_used[2] = used == nullptr ? 0 : std::strtoull(used, nullptr, 10);
  return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void*, unsigned* count, void* processes) {
  const char* busy = std::getenv("FAKE_NVML_BUSY");
  *count = busy != nullptr && ::access(busy, F_OK) == 0 ? 1 : 0;
  if (*count > 0) *static_cast<unsigned*>(processes) = 4242;
  return 0;
}
}
