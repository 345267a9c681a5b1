#pragma once

#include "kernels/rms_norm/rms_norm_params.h"

// defines: rms_norm_fwd_reference, rms_norm_bwd_reference

namespace mpeft::kernels {

/// The definition of the operator: plain loops, libm functions, in acc_type_t<scalar_t>. Instantiated for double,
/// float, BFloat16 and Half.
template <typename scalar_t>
void rms_norm_fwd_reference(const RmsNormFwdParams<scalar_t>& p);

template <typename scalar_t>
void rms_norm_bwd_reference(const RmsNormBwdParams<scalar_t>& p);

}  // namespace mpeft::kernels
