#include "kernels/common/vec_avx512.h"
// The Vec of this unit comes first.
#include "kernels/selective_scan/cpu_simd.h"

namespace mpeft::kernels {

template <typename scalar_t>
SelectiveScanTasks<scalar_t> selective_scan_tasks_avx512() {
  return scan_tasks<scalar_t>();
}

template SelectiveScanTasks<float> selective_scan_tasks_avx512();
template SelectiveScanTasks<BFloat16> selective_scan_tasks_avx512();
template SelectiveScanTasks<Half> selective_scan_tasks_avx512();

}  // namespace mpeft::kernels
