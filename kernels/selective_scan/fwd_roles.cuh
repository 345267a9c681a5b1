#pragma once

// Selective scan, forward, for bfloat16 and 16 states: warps with four roles.
//
// Equation and layouts: selective_scan_params.h.
// Mapping: a block owns kChannels channels of a row and walks their time in tiles of kSteps, side by side
//   the warps that fetch ask for tile i + 1 (fwd_roles_fetch.cuh);
//   the warps that prepare make of tile i what the recurrence takes (fwd_roles_prepare.cuh);
//   the warps that scan walk tile i - 1, kWarpChannels channels each (fwd_roles_scan.cuh, or by the shape's kWalk
//   fwd_roles_step_ahead.cuh or fwd_roles_group_ahead.cuh, whose warps load the first steps of tile i before they are
//   done); the warps that finish gate and store tile i - 2 (fwd_roles_finish.cuh). So the recurrence, which keeps the
//   special function unit busy, never waits for memory, and runs beside softplus, gate and copies instead of before and
//   after them. A role hands a tile on by arriving at a barrier where the others wait: the next role for the tile,
//   those before it for its slots. Warps that scan never wait for each other.
// Accumulation: float; in C . h the matrix unit cuts h to 11 bits. delta is kept in units of kDeltaUnit.
// Limits: d_state 16, no terms, d_inner a multiple of 8; 16-byte aligned rows of u, delta, z (less than 2^25 elements
// apart), out, y, checkpoints, last_state; B and C any alignment.
#include "kernels/selective_scan/fwd_roles_fetch.cuh"
#include "kernels/selective_scan/fwd_roles_finish.cuh"
#include "kernels/selective_scan/fwd_roles_group_ahead.cuh"
#include "kernels/selective_scan/fwd_roles_prepare.cuh"
#include "kernels/selective_scan/fwd_roles_scan.cuh"
#include "kernels/selective_scan/fwd_roles_step_ahead.cuh"

// defines: kRolesFrom, kRolesBelow, selective_scan_fwd_roles_kernel

namespace mpeft::kernels {

/// Architectures (__CUDA_ARCH__) of devices that have the shared memory; for others the kernel is empty, and
/// device_takes_roles says no.
inline constexpr int kRolesFrom = 900, kRolesBelow = 1200;

/// Takes sizeof(fwd_roles::Shared<Shape>) bytes of dynamic shared memory.
template <typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    selective_scan_fwd_roles_kernel(const SelectiveScanFwdParams<fwd_roles::scalar_t> p, const bool state_vectors) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900 && __CUDA_ARCH__ < 1200  // kRolesFrom, kRolesBelow
  extern __shared__ __align__(16) char roles_memory[];
  auto& shared = *reinterpret_cast<fwd_roles::Shared<Shape>*>(roles_memory);
  const ScanBlock block = locate_block<Shape::kChannels>(p);
  const RowSpan span = row_span(p, block.row);
  const int length = static_cast<int>(span.length);
  const fwd_roles::Work work{block, span, length, (length + Shape::kSteps - 1) / Shape::kSteps};

  if (threadIdx.x < 2) {
    if constexpr (Shape::kFetchWarps > 0) shared.fetched[threadIdx.x].init(Shape::kFetchWarps);
    shared.prepared[threadIdx.x].init(Shape::kPrepareWarps);
    shared.scanned[threadIdx.x].init(Shape::kScanWarps);
    shared.finished[threadIdx.x].init(Shape::kFinishWarps);
  }
  // before they meet (kBlockBarrier) the roles begin what needs none of the barriers of arrivals
  constexpr int kPrepare = Shape::kScanWarps * 32, kFinish = kPrepare + Shape::kPrepareWarps * 32,
                kFetch = kFinish + Shape::kFinishWarps * 32;  // first threads
  const int thread = threadIdx.x;
  if (thread < kPrepare) {
    if constexpr (Shape::kWalk == RolesWalk::kGroupAhead) {
      fwd_roles::scan_group_ahead<Shape>(shared, p, work, thread / 32);
    } else if constexpr (Shape::kWalk == RolesWalk::kStepAhead) {
      fwd_roles::scan_step_ahead<Shape>(shared, p, work, thread / 32);
    } else {
      fwd_roles::scan<Shape>(shared, p, work, thread / 32);
    }
  } else if (thread < kFinish) {
    fwd_roles::prepare<Shape>(shared, p, work, thread - kPrepare, state_vectors);
  } else if (thread < kFetch) {
    fwd_roles::finish<Shape>(shared, p, work, thread - kFinish);
  } else if constexpr (Shape::kFetchWarps > 0) {
    fwd_roles::fetch<Shape>(shared, p, work, thread - kFetch, state_vectors);
  }
#endif
}

}  // namespace mpeft::kernels
