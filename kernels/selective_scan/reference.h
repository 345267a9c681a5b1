#pragma once

#include "kernels/selective_scan/selective_scan_params.h"

// defines: selective_scan_fwd_reference, selective_scan_bwd_reference

namespace mpeft::kernels {

/// The definition of the operator: one plain loop an axis, libm functions, in acc_type_t<scalar_t>. Instantiated for
/// double, float, BFloat16 and Half. Keeps no checkpoints: the backward recomputes every state from the first, and
/// ignores them.
template <typename scalar_t>
void selective_scan_fwd_reference(const SelectiveScanFwdParams<scalar_t>& p);

template <typename scalar_t>
void selective_scan_bwd_reference(const SelectiveScanBwdParams<scalar_t>& p);

}  // namespace mpeft::kernels
