#pragma once

#include <cuda_runtime.h>

#include "kernels/decode_step/decode_step_params.h"

// defines: decode_scan_rows_suits, launch_decode_scan_rows

namespace mpeft::kernels {

/// True where launch_decode_scan_rows takes these sizes and is the faster one: tens of rows.
template <typename scalar_t>
bool decode_scan_rows_suits(const DecodeScanParams<scalar_t>& params);

template <typename scalar_t>
cudaError_t launch_decode_scan_rows(const DecodeScanParams<scalar_t>& params, cudaStream_t stream);

}  // namespace mpeft::kernels
