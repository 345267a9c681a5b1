#include "kernels/glue/autograd.h"
#include "kernels/selective_scan/cpu.h"
#include "kernels/selective_scan/torch_halves.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/glue/cuda.h"
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops::scan {
namespace {

// Undefined where the mask says that nobody wants the gradient, or where the input is absent.
GradientArray allocate_gradients(const Inputs& in, const Mask& mask) {
  GradientArray grads;
  const auto inputs = in.differentiable();
  for (size_t i = 0; i < kGradients; ++i) {
    if (mask[i] && inputs[i]->defined()) grads[i] = at::empty(inputs[i]->sizes(), inputs[i]->options());
  }
  if (grads[kInitialState].defined()) {  // the kernels leave one a row
    grads[kInitialState] = at::empty({in.rows(), in.d_inner(), in.d_state()}, in.acc_options());
  }
  return grads;
}

template <typename scalar_t>
kernels::SelectiveScanBwdParams<scalar_t> backward_params(const Inputs& in, const Tensor& dout,
                                                          const Tensor& dlast_state, const Tensor& checkpoints,
                                                          int64_t checkpoint_every, const Tensor& y,
                                                          const GradientArray& grads) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::SelectiveScanBwdParams<scalar_t> p;
  fill_inputs(in, p);
  p.dout = sequence_of<scalar_t>(dout);
  p.dlast_state = pointer_of<acc_t>(dlast_state);
  p.checkpoint_every = checkpoint_every;
  p.checkpoints = pointer_of<acc_t>(checkpoints);
  p.y = pointer_of<scalar_t>(y);
  p.du = mutable_sequence_of<scalar_t>(grads[kU]);
  p.ddelta = mutable_sequence_of<scalar_t>(grads[kDelta]);
  p.dz = mutable_sequence_of<scalar_t>(grads[kZ]);
  p.dB = mutable_sequence_of<scalar_t>(grads[kB]);
  p.dC = mutable_sequence_of<scalar_t>(grads[kC]);
  p.dA = mutable_pointer_of<acc_t>(grads[kA]);
  p.dD = mutable_pointer_of<acc_t>(grads[kD]);
  p.ddelta_bias = mutable_pointer_of<acc_t>(grads[kDeltaBias]);
  p.dinitial_state = mutable_pointer_of<acc_t>(grads[kInitialState]);
  p.dstate_offset = mutable_pointer_of<acc_t>(grads[kStateOffset]);
  p.dout_offset = mutable_pointer_of<acc_t>(grads[kOutOffset]);
  p.dB_scale = mutable_pointer_of<acc_t>(grads[kBScale]);
  p.dB_bias = mutable_pointer_of<acc_t>(grads[kBBias]);
  p.dC_scale = mutable_pointer_of<acc_t>(grads[kCScale]);
  p.dC_bias = mutable_pointer_of<acc_t>(grads[kCBias]);
  return p;
}

// What both devices do around their launch: check, fill in absent gradients of the outputs, sum a shared initial
// state's.
template <typename Launch>
Gradients run_backward(const OptionalTensor& dout_in, const OptionalTensor& dlast_state_in, const Inputs& in,
                       const Tensor& checkpoints, int64_t checkpoint_every, const Tensor& y, const Mask& mask,
                       const Launch& launch) {
  const auto device = in.u.device();
  Tensor dout = value_or_undefined(dout_in);
  if (!dout.defined()) dout = at::zeros(in.u.sizes(), in.u.options());
  check_tensor(kOp, "the gradient of out", dout, in.u.sizes(), in.u.scalar_type(), device);
  dout = with_contiguous_last_axis(dout);
  Tensor dlast_state = value_or_undefined(dlast_state_in);
  if (dlast_state.defined()) {
    dlast_state = dlast_state.contiguous();
    check_tensor(kOp, "the gradient of last_state", dlast_state, {in.rows(), in.d_inner(), in.d_state()},
                 accumulation_dtype(in.u.scalar_type()), device);
  }
  check_tensor(kOp, "checkpoints", checkpoints, checkpoint_sizes(in, checkpoint_every),
               accumulation_dtype(in.u.scalar_type()), device);
  TORCH_CHECK(checkpoints.is_contiguous(), kOp, ": checkpoints must be as the forward left them");
  if (y.defined()) {
    check_tensor(kOp, "y", y, in.u.sizes(), in.u.scalar_type(), device);
    TORCH_CHECK(y.is_contiguous(), kOp, ": y must be as the forward left it");
  }

  auto grads = allocate_gradients(in, mask);
  launch(dout, dlast_state, grads);
  if (grads[kInitialState].defined() && in.initial_state.size(0) == 1) {
    grads[kInitialState] = grads[kInitialState].sum(0, /*keepdim=*/true);
  }
  return as_tuple(grads);
}

Gradients backward_cpu(const OptionalTensor& dout, const OptionalTensor& dlast_state, MPEFT_SCAN_PARAMETERS,
                       const Tensor& checkpoints, int64_t checkpoint_every, const OptionalTensor& y, Mask mask) {
  const Inputs in = checked_inputs(MPEFT_SCAN_ARGUMENTS);
  check_kept(in, checkpoint_every, y.has_value());
  const Tensor kept_y = value_or_undefined(y);
  return run_backward(dout, dlast_state, in, checkpoints, checkpoint_every, kept_y, mask,
                      [&](const Tensor& dout_rows, const Tensor& dlast, const GradientArray& grads) {
                        dispatch_cpu_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                          kernels::selective_scan_bwd_cpu(backward_params<scalar_t>(in, dout_rows, dlast, checkpoints,
                                                                                    checkpoint_every, kept_y, grads),
                                                          at_parallel_for);
                        });
                      });
}

#ifdef MPEFT_HAS_CUDA
Gradients backward_cuda(const OptionalTensor& dout, const OptionalTensor& dlast_state, MPEFT_SCAN_PARAMETERS,
                        const Tensor& checkpoints, int64_t checkpoint_every, const OptionalTensor& y, Mask mask) {
  const Inputs in = checked_inputs(MPEFT_SCAN_ARGUMENTS);
  check_kept(in, checkpoint_every, y.has_value());
  const c10::cuda::CUDAGuard guard(u.device());
  const Tensor kept_y = value_or_undefined(y);
  return run_backward(dout, dlast_state, in, checkpoints, checkpoint_every, kept_y, mask,
                      [&](const Tensor& dout_rows, const Tensor& dlast, const GradientArray& grads) {
                        if (u.numel() == 0) {  // nothing to launch on: the state passes through, the sums are empty
                          for (const Tensor& grad : grads) {
                            if (grad.defined()) grad.zero_();
                          }
                          if (grads[kInitialState].defined() && dlast.defined()) grads[kInitialState].copy_(dlast);
                          return;
                        }
                        dispatch_cuda_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                          const auto params = backward_params<scalar_t>(in, dout_rows, dlast, checkpoints,
                                                                        checkpoint_every, kept_y, grads);
                          const Tensor workspace =
                              cuda_workspace(kernels::selective_scan_bwd_workspace_bytes(params), u);
                          C10_CUDA_CHECK(kernels::launch_selective_scan_bwd(
                              params, workspace.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream().stream()));
                        });
                      });
}
#endif

Gradients backward_meta(const OptionalTensor&, const OptionalTensor&, MPEFT_SCAN_PARAMETERS, const Tensor&, int64_t,
                        const OptionalTensor&, Mask mask) {
  const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  const auto inputs = in.differentiable();
  GradientArray grads;
  for (size_t i = 0; i < kGradients; ++i) {
    if (mask[i] && inputs[i]->defined()) grads[i] = at::empty_symint(inputs[i]->sym_sizes(), inputs[i]->options());
  }
  return as_tuple(grads);
}

// The backward's own autograd kernel: computes, then makes its results refuse a second differentiation.
Gradients backward_autograd(const OptionalTensor& dout, const OptionalTensor& dlast_state, MPEFT_SCAN_PARAMETERS,
                            const Tensor& checkpoints, int64_t checkpoint_every, const OptionalTensor& y, Mask mask) {
  Gradients grads;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    grads = backward_op().call(dout, dlast_state, MPEFT_SCAN_ARGUMENTS, checkpoints, checkpoint_every, y, mask);
  }
  std::vector<Tensor> inputs{value_or_undefined(dout), value_or_undefined(dlast_state)};
  const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  for (const Tensor* input : in.differentiable()) inputs.push_back(*input);
  forbid_double_backward(kOp, inputs, std::apply([](const auto&... g) { return std::vector<Tensor>{g...}; }, grads));
  return grads;
}

}  // namespace

const c10::TypedOperatorHandle<BackwardSignature>& backward_op() {
  static const auto op = find_op<BackwardSignature>("mpeft::selective_scan_backward");
  return op;
}

void register_backward(torch::Library& library) {
  library.def(torch::schema(
      ("selective_scan_backward(Tensor? dout, Tensor? dlast_state, " + schema_of_inputs("") +
       ", Tensor checkpoints, int checkpoint_every, Tensor? y, bool[15] output_mask) -> (Tensor du, Tensor ddelta, "
       "Tensor dA, "
       "Tensor dB, Tensor dC, Tensor dD, Tensor dz, Tensor ddelta_bias, Tensor dinitial_state, Tensor dstate_offset, "
       "Tensor dout_offset, Tensor dB_scale, Tensor dB_bias, Tensor dC_scale, Tensor dC_bias)")
          .c_str()));
  library.impl("selective_scan_backward", c10::DispatchKey::CPU, TORCH_FN(backward_cpu));
  library.impl("selective_scan_backward", c10::DispatchKey::Meta, TORCH_FN(backward_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("selective_scan_backward", c10::DispatchKey::CUDA, TORCH_FN(backward_cuda));
#endif
  library.impl("selective_scan_backward", c10::DispatchKey::Autograd, TORCH_FN(backward_autograd));
}

}  // namespace mpeft::ops::scan
