#pragma once

#include "kernels/selective_scan/cpu_simd_bwd.h"
#include "kernels/selective_scan/cpu_simd_fwd.h"

// defines: scan_tasks (include a kernels/common/vec_*.h first)

namespace mpeft::kernels {
namespace {

template <typename scalar_t>
inline SelectiveScanTasks<scalar_t> scan_tasks() {
  return {fwd_scratch, fwd_task<scalar_t>, bwd_scratch, bwd_task<scalar_t>};
}

}  // namespace
}  // namespace mpeft::kernels
