#pragma once

#include <torch/library.h>

#include "kernels/selective_scan/torch_inputs.h"

// defines, in scan: ForwardSignature, BackwardSignature, forward_op, backward_op, register_forward, register_backward
//
// The two halves of the operator: mpeft::selective_scan_forward (torch_forward.cpp) and
// mpeft::selective_scan_backward (torch_backward.cpp).

namespace mpeft::ops::scan {

/// (out, last_state, checkpoints, y), of checkpoint_every and keep_y.
using ForwardSignature = std::tuple<Tensor, Tensor, Tensor, Tensor>(MPEFT_SCAN_PARAMETERS, int64_t, bool);
/// Of the gradients of out and last_state, the inputs, checkpoints, checkpoint_every, y, and the gradients wanted.
using BackwardSignature = Gradients(const OptionalTensor&, const OptionalTensor&, MPEFT_SCAN_PARAMETERS, const Tensor&,
                                    int64_t, const OptionalTensor&, Mask);

/// Through the dispatcher, as registered.
const c10::TypedOperatorHandle<ForwardSignature>& forward_op();
const c10::TypedOperatorHandle<BackwardSignature>& backward_op();

/// Define the schemas and the kernels of all devices.
void register_forward(torch::Library& library);
void register_backward(torch::Library& library);

}  // namespace mpeft::ops::scan
