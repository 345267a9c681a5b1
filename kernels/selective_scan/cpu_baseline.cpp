#include "kernels/common/vec_portable.h"
// The Vec of this unit comes first.
#include "kernels/selective_scan/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_baseline() {
  return scan_tasks<scalar_t>();
}

template SelectiveScanTasks<float> selective_scan_tasks_baseline();
template SelectiveScanTasks<BFloat16> selective_scan_tasks_baseline();
template SelectiveScanTasks<Half> selective_scan_tasks_baseline();

}  // namespace mpeft::kernels
