#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/selective_scan/selective_scan_params.h"

// defines: kSelectiveScanCheckpointEvery, kSelectiveScanCompactEvery, kSelectiveScanRolesShapes,
// kSelectiveScanRolesMostSteps, selective_scan_accepts_checkpoint_every, selective_scan_keeps_y,
// selective_scan_bwd_workspace_bytes, launch_selective_scan_fwd, launch_selective_scan_fwd_roles,
// selective_scan_bwd_takes_roles, launch_selective_scan_bwd
//
// scalar_t is float, __nv_bfloat16 or __half. Nothing here throws, allocates or waits: what a launch needs beyond its
// params is the caller's workspace, and an error comes back as a cudaError_t (cudaErrorInvalidValue: a size out of
// range). d_state is 1 to 256. All pointers are on the current device.

namespace mpeft::kernels {

/// Steps between two kept states: as the backward wants them, and when memory is short: it then makes those in between
/// again, into its workspace, and y where it wants that. A forward that keeps checkpoints sets params.checkpoint_every
/// to one of the two and gives room for (n_row_parts(...), d_inner, d_state) floats.
inline constexpr int64_t kSelectiveScanCheckpointEvery = 8, kSelectiveScanCompactEvery = 32;
inline constexpr bool selective_scan_accepts_checkpoint_every(int64_t every) {
  return every == kSelectiveScanCheckpointEvery || every == kSelectiveScanCompactEvery;
}

/// True when the backward is faster with y from the forward, which then costs sizeof(scalar_t) bytes a step and
/// channel; y is rounded once more, as Mamba's own kernels do.
template <typename scalar_t>
bool selective_scan_keeps_y(const SelectiveScanInputs<scalar_t>& p) {
  return sizeof(scalar_t) == 2 && p.d_state == 16 && p.z.data != nullptr && !has_terms(p);
}

template <typename scalar_t>
cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<scalar_t>& params, cudaStream_t stream);

/// Shapes of the forward by roles (fwd_roles.cuh), of which launch_selective_scan_fwd takes one by the number of
/// channels and steps.
inline constexpr int kSelectiveScanRolesShapes = 9;
/// No shape's tiles have more steps: by this a check makes rows of more tiles than any shape holds at once.
inline constexpr int kSelectiveScanRolesMostSteps = 64;
/// Launches a given one, so that each can be checked on small inputs. shape: 0 to kSelectiveScanRolesShapes - 1, in the
/// order of roles_choices (fwd_launch.cuh), else cudaErrorInvalidValue; cudaErrorNotSupported where
/// launch_selective_scan_fwd would not take any of them: another d_state than 16, terms, unaligned rows, the device.
cudaError_t launch_selective_scan_fwd_roles(const SelectiveScanFwdParams<__nv_bfloat16>& params, int shape,
                                            cudaStream_t stream);

/// Bytes of device memory the backward needs when launched with these very params, pointers included: their alignment
/// and which of them are null decide (nothing is read through them). The contents do not matter; the alignment is 256
/// bytes.
template <typename scalar_t>
int64_t selective_scan_bwd_workspace_bytes(const SelectiveScanBwdParams<scalar_t>& params);

/// Whether launch_selective_scan_bwd would run these very params by roles (bwd_roles.cuh): so that a check can ask for
/// what it means to check.
bool selective_scan_bwd_takes_roles(const SelectiveScanBwdParams<__nv_bfloat16>& params);

/// Gradients are bitwise reproducible: sums run in a fixed order, without atomics.
template <typename scalar_t>
cudaError_t launch_selective_scan_bwd(const SelectiveScanBwdParams<scalar_t>& params, void* workspace,
                                      cudaStream_t stream);

}  // namespace mpeft::kernels
