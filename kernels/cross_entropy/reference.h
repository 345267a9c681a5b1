#pragma once

#include "kernels/cross_entropy/cross_entropy_params.h"

// defines: cross_entropy_fwd_reference, cross_entropy_bwd_reference

namespace mpeft::kernels {

/// The definition of the operator: plain loops, libm functions, in acc_type_t<scalar_t>. Instantiated for double,
/// float, BFloat16 and Half.
template <typename scalar_t>
void cross_entropy_fwd_reference(const CrossEntropyFwdParams<scalar_t>& p);

template <typename scalar_t>
void cross_entropy_bwd_reference(const CrossEntropyBwdParams<scalar_t>& p);

}  // namespace mpeft::kernels
