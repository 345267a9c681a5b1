#pragma once

// Selective scan, backward, main pass, for bfloat16 and 16 states: warps with three roles.
//
// Equation: bwd_kernel.cuh. Mapping: a block owns 128 channels of a row and walks their time backwards in tiles of 16
//   steps, side by side
//   the warps that prepare ask for tile k + 1 and make of tile k what the walk takes (bwd_roles_prepare.cuh);
//   the warps that scan walk the tiles before, half by half, 16 channels a warp (bwd_roles_scan.cuh);
//   the warps that finish add, convert and store what the walk leaves (bwd_roles_finish.cuh).
//   A role hands on by arriving at a barrier where the others wait. The walk wants 208 registers, which the other roles
//   give (move_registers.cuh): eight warps walk, as in bwd_kernel.cuh, and eight more do the rest beside them instead
//   of before and after.
// Accumulation: as bwd_kernel.cuh.
// Limits: as bwd_kernel.cuh's, no terms, 16-byte aligned rows of B and C, and with a gate y; code for sm_90a.
#include "kernels/common/move_registers.cuh"
#include "kernels/selective_scan/bwd_roles_finish.cuh"
#include "kernels/selective_scan/bwd_roles_prepare.cuh"
#include "kernels/selective_scan/bwd_roles_scan.cuh"

// defines: selective_scan_bwd_roles_kernel

namespace mpeft::kernels {

/// Takes sizeof(bwd_roles::Shared) bytes of dynamic shared memory. Where registers cannot be moved it is empty, for
/// blocks of one warp: by that bound device_takes_bwd_roles knows it.
template <typename Shape>
__global__ void __launch_bounds__(kMovesRegisters ? Shape::kAllThreads : 32, 1)
    selective_scan_bwd_roles_kernel(const SelectiveScanBwdParams<bwd_roles::scalar_t> p, const BwdPlan plan,
                                    float* workspace) {
  if constexpr (kMovesRegisters) {
    extern __shared__ __align__(128) char roles_memory[];
    auto& shared = *reinterpret_cast<bwd_roles::Shared*>(roles_memory);
    const BwdWork work = locate_work<Shape::kChannels, Shape::kTile>(p, plan);
    constexpr int kPrepare = Shape::kThreads, kFinish = kPrepare + Shape::kPrepareWarps * 32;  // first threads
    const int thread = static_cast<int>(threadIdx.x), warps = thread / 128;
    bwd_roles::Preparation preparation(shared, p, work, thread - kPrepare);
    bwd_roles::Finish finish(shared, p, plan, workspace, work, thread - kFinish);
    if (warps == kPrepare / 128) preparation.begin(work);
    if (warps == kFinish / 128) finish.begin();
    if (thread < bwd_roles::Shared::kPreparedTiles) shared.prepared[thread].init(Shape::kPrepareWarps);
    if (thread < 2) {
      shared.walked[thread].init(Shape::kWarps);
      shared.finished[thread].init(Shape::kFinishWarps);
    }
    let_successor_start();
    __syncthreads();
    if (warps < kPrepare / 128) {
      take_registers<Shape::kScanRegisters>();
      bwd_roles::scan(shared, p, plan, workspace, work);
    } else if (warps < kFinish / 128) {
      give_registers<Shape::kPrepareRegisters>();
      if (p.z.data != nullptr && p.delta_softplus) {
        preparation.template run<true>();
      } else {
        preparation.template run<false>();
      }
    } else {
      give_registers<Shape::kFinishRegisters>();
      finish.run();
    }
  }
}

}  // namespace mpeft::kernels
