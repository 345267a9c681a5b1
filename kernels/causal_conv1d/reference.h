#pragma once

#include "kernels/causal_conv1d/causal_conv1d_params.h"

// defines: causal_conv1d_fwd_reference, causal_conv1d_bwd_reference

namespace mpeft::kernels {

/// The definition of the operator: plain loops, libm functions, in acc_type_t<scalar_t>. Instantiated for double,
/// float, BFloat16 and Half.
template <typename scalar_t>
void causal_conv1d_fwd_reference(const CausalConv1dFwdParams<scalar_t>& p);

template <typename scalar_t>
void causal_conv1d_bwd_reference(const CausalConv1dBwdParams<scalar_t>& p);

}  // namespace mpeft::kernels
