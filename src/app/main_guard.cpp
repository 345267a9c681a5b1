#include "app/main_guard.h"

#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include <c10/util/Exception.h>

#include "kernels/registration.h"
#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"

namespace mpeft::app {
namespace {

constexpr const char* kSmallerBatch =
    "\n  what was saved is intact; try a smaller batch (--set batch_size=…) with --set gradient_accumulation_steps=…, "
    "or a smaller model";

}  // namespace

int run_guarded(const std::function<int()>& body) {
  // cuBLAS is deterministic only with a fixed workspace, which it reads from the environment when it starts.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
#if defined(__x86_64__)
  // Intel's library gives other last bits for other numbers of threads unless it is told not to. On other makers'
  // processors the setting would choose slower code, and the bits are the same without it.
  if (__builtin_cpu_is("intel")) setenv("MKL_CBWR", "AUTO,STRICT", /*overwrite=*/0);
#endif
  ops::ensure_registered();
  try {
    return body();
  } catch (const Error& e) {
    log::error(e.what());
    return static_cast<int>(e.exit_code());
  } catch (const c10::OutOfMemoryError& e) {
    log::error(std::string("out of GPU memory: ") + e.what_without_backtrace() + kSmallerBatch);
    return static_cast<int>(ExitCode::kInternal);
  } catch (const c10::Error& e) {
    const std::string what = e.what_without_backtrace();
    // of a processor's memory there is no class of its own
    const bool is_memory = what.find("DefaultCPUAllocator") != std::string::npos;
    log::error(is_memory ? "out of memory: " + what + kSmallerBatch : "LibTorch: " + what);
    return static_cast<int>(ExitCode::kInternal);
  } catch (const std::bad_alloc&) {
    log::error("out of memory");
    return static_cast<int>(ExitCode::kInternal);
  } catch (const std::exception& e) {
    log::error(e.what());
    return static_cast<int>(ExitCode::kInternal);
  }
}

}  // namespace mpeft::app
