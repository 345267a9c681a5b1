#pragma once

#include "kernels/decode_step/decode_step_params.h"

// defines: decode_linear_reference, decode_conv_reference, decode_scan_reference

namespace mpeft::kernels {

/// The definition of a decode step in plain loops and libm functions, in acc_type_t<scalar_t>. With double nothing is
/// rounded. Instantiated for double, float, BFloat16 and Half.
template <typename scalar_t>
void decode_linear_reference(const DecodeLinearParams<scalar_t>& p);

template <typename scalar_t>
void decode_conv_reference(const DecodeConvParams<scalar_t>& p);

template <typename scalar_t>
void decode_scan_reference(const DecodeScanParams<scalar_t>& p);

}  // namespace mpeft::kernels
