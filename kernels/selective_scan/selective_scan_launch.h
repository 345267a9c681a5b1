#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/selective_scan/selective_scan_params.h"

// defines: kSelectiveScanCheckpointEvery, selective_scan_checkpoint_every, selective_scan_bwd_workspace_bytes,
// launch_selective_scan_fwd, launch_selective_scan_bwd
//
// scalar_t is float, __nv_bfloat16 or __half. Nothing here throws, allocates or waits: what a launch needs beyond its
// params is the caller's workspace, and an error comes back as a cudaError_t (cudaErrorInvalidValue: a size out of
// range). d_state is 1 to 256. All pointers are on the current device.

namespace mpeft::kernels {

/// Steps between two kept states. A forward that keeps checkpoints sets params.checkpoint_every to this number and
/// gives room for (batch, ceil(seqlen / checkpoint_every), d_inner, d_state) floats.
inline constexpr int64_t kSelectiveScanCheckpointEvery = 8;
inline constexpr int64_t selective_scan_checkpoint_every() { return kSelectiveScanCheckpointEvery; }

template <typename scalar_t>
cudaError_t launch_selective_scan_fwd(const SelectiveScanFwdParams<scalar_t>& params, cudaStream_t stream);

/// Bytes of device memory the backward needs when launched with these very params, pointers included: their alignment
/// and which of them are null decide (nothing is read through them). The contents do not matter; the alignment is 256
/// bytes.
template <typename scalar_t>
int64_t selective_scan_bwd_workspace_bytes(const SelectiveScanBwdParams<scalar_t>& params);

/// Gradients are bitwise reproducible: sums run in a fixed order, without atomics.
template <typename scalar_t>
cudaError_t launch_selective_scan_bwd(const SelectiveScanBwdParams<scalar_t>& params, void* workspace,
                                      cudaStream_t stream);

}  // namespace mpeft::kernels
