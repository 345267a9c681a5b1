#include "kernels/selective_scan/selective_scan.h"

#include <array>
#include <type_traits>

#include <ATen/ATen.h>
#include <torch/library.h>

#include "kernels/glue/autograd.h"
#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/registration.h"
#include "kernels/selective_scan/cpu.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/glue/cuda.h"
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops {

void register_selective_scan(torch::Library& library);

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kOp = "selective_scan";

// The inputs, in the order of the schema.
#define MPEFT_SCAN_PARAMETERS                                                                                       \
  const Tensor &u, const Tensor &delta, const Tensor &A, const Tensor &B, const Tensor &C, const OptionalTensor &D, \
      const OptionalTensor &z, const OptionalTensor &delta_bias, const OptionalTensor &initial_state,               \
      const OptionalTensor &lengths, bool delta_softplus, const OptionalTensor &state_offset,                       \
      const OptionalTensor &out_offset, const OptionalTensor &B_scale, const OptionalTensor &B_bias,                \
      const OptionalTensor &C_scale, const OptionalTensor &C_bias, const OptionalTensor &cu_seqlens
#define MPEFT_SCAN_ARGUMENTS                                                                                      \
  u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus, state_offset, out_offset, B_scale, \
      B_bias, C_scale, C_bias, cu_seqlens

// Order of the output mask and of the results of the backward.
enum Gradient {
  kU,
  kDelta,
  kA,
  kB,
  kC,
  kD,
  kZ,
  kDeltaBias,
  kInitialState,
  kStateOffset,
  kOutOffset,
  kBScale,
  kBBias,
  kCScale,
  kCBias,
  kGradients
};
using Mask = std::array<bool, kGradients>;
using GradientArray = std::array<Tensor, kGradients>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                             Tensor, Tensor, Tensor, Tensor>;

Gradients as_tuple(const GradientArray& grads) {
  return std::apply([](const auto&... g) { return Gradients(g...); }, grads);
}

// What the kernels read: optional tensors are undefined when absent, strides are what the kernels can follow.
struct Inputs {
  Tensor u, delta, A, B, C, D, z, delta_bias, initial_state, lengths;
  bool delta_softplus = true;
  Tensor state_offset, out_offset, B_scale, B_bias, C_scale, C_bias, cu_seqlens;

  bool packed() const { return cu_seqlens.defined(); }
  int64_t rows() const { return packed() ? cu_seqlens.numel() - 1 : u.size(0); }
  int64_t seqlen() const { return u.size(1); }
  int64_t d_inner() const { return u.size(2); }
  int64_t d_state() const { return A.size(1); }
  at::TensorOptions acc_options() const { return u.options().dtype(accumulation_dtype(u.scalar_type())); }

  // The differentiable inputs, in the order of Gradient.
  std::array<const Tensor*, kGradients> differentiable() const {
    return {&u,          &delta,   &A,      &B,       &C,     &D, &z, &delta_bias, &initial_state, &state_offset,
            &out_offset, &B_scale, &B_bias, &C_scale, &C_bias};
  }
};

void check(const Inputs& in) {
  TORCH_CHECK(in.u.dim() == 3, kOp, ": u must be (batch, seqlen, d_inner), got ", in.u.sizes());
  TORCH_CHECK(in.A.dim() == 2, kOp, ": A must be (d_inner, d_state), got ", in.A.sizes());
  check_compute_dtype(kOp, "u", in.u);
  const auto dtype = in.u.scalar_type();
  const auto acc = accumulation_dtype(dtype);
  const auto device = in.u.device();
  const int64_t batch = in.u.size(0), seqlen = in.seqlen(), d_inner = in.d_inner(), d_state = in.d_state();
  TORCH_CHECK(d_state >= 1 && d_state <= 256, kOp, ": d_state must be 1 to 256, got ", d_state);
  check_tensor(kOp, "delta", in.delta, {batch, seqlen, d_inner}, dtype, device);
  check_tensor(kOp, "A", in.A, {d_inner, d_state}, acc, device);
  check_tensor(kOp, "B", in.B, {batch, seqlen, d_state}, dtype, device);
  check_tensor(kOp, "C", in.C, {batch, seqlen, d_state}, dtype, device);
  if (in.D.defined()) check_tensor(kOp, "D", in.D, {d_inner}, acc, device);
  if (in.z.defined()) check_tensor(kOp, "z", in.z, {batch, seqlen, d_inner}, dtype, device);
  if (in.delta_bias.defined()) check_tensor(kOp, "delta_bias", in.delta_bias, {d_inner}, acc, device);
  check_packing(kOp, "u", in.u, in.lengths, in.cu_seqlens);
  if (in.initial_state.defined()) {
    const int64_t rows = in.initial_state.dim() == 3 && in.initial_state.size(0) == 1 ? 1 : in.rows();
    check_tensor(kOp, "initial_state", in.initial_state, {rows, d_inner, d_state}, acc, device);
  }
  const std::pair<const char*, const Tensor*> state_terms[] = {{"state_offset", &in.state_offset},
                                                               {"B_scale", &in.B_scale},
                                                               {"B_bias", &in.B_bias},
                                                               {"C_scale", &in.C_scale},
                                                               {"C_bias", &in.C_bias}};
  for (const auto& [name, tensor] : state_terms) {
    if (tensor->defined()) check_tensor(kOp, name, *tensor, {d_inner, d_state}, acc, device);
  }
  if (in.out_offset.defined()) check_tensor(kOp, "out_offset", in.out_offset, {d_inner}, acc, device);
}

Inputs given_inputs(MPEFT_SCAN_PARAMETERS) {
  return {u,
          delta,
          A,
          B,
          C,
          value_or_undefined(D),
          value_or_undefined(z),
          value_or_undefined(delta_bias),
          value_or_undefined(initial_state),
          value_or_undefined(lengths),
          delta_softplus,
          value_or_undefined(state_offset),
          value_or_undefined(out_offset),
          value_or_undefined(B_scale),
          value_or_undefined(B_bias),
          value_or_undefined(C_scale),
          value_or_undefined(C_bias),
          value_or_undefined(cu_seqlens)};
}

Inputs checked_inputs(MPEFT_SCAN_PARAMETERS) {
  Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  check(in);
  for (Tensor* sequence : {&in.u, &in.delta, &in.B, &in.C, &in.z}) {
    if (sequence->defined()) *sequence = with_contiguous_last_axis(*sequence);
  }
  for (Tensor* small : {&in.A, &in.D, &in.delta_bias, &in.initial_state, &in.lengths, &in.state_offset, &in.out_offset,
                        &in.B_scale, &in.B_bias, &in.C_scale, &in.C_bias, &in.cu_seqlens}) {
    if (small->defined()) *small = small->contiguous();
  }
  return in;
}

template <typename scalar_t>
void fill_inputs(const Inputs& in, kernels::SelectiveScanInputs<scalar_t>& p) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  p.batch = in.rows();
  p.seqlen = in.seqlen();
  p.d_inner = in.d_inner();
  p.d_state = in.d_state();
  p.delta_softplus = in.delta_softplus;
  p.u = sequence_of<scalar_t>(in.u);
  p.delta = sequence_of<scalar_t>(in.delta);
  p.z = sequence_of<scalar_t>(in.z);
  p.B = sequence_of<scalar_t>(in.B);
  p.C = sequence_of<scalar_t>(in.C);
  p.A = pointer_of<acc_t>(in.A);
  p.D = pointer_of<acc_t>(in.D);
  p.delta_bias = pointer_of<acc_t>(in.delta_bias);
  p.initial_state = pointer_of<acc_t>(in.initial_state);
  p.initial_state_batch_stride =
      in.initial_state.defined() && in.initial_state.size(0) > 1 ? in.initial_state.stride(0) : 0;
  p.state_offset = pointer_of<acc_t>(in.state_offset);
  p.out_offset = pointer_of<acc_t>(in.out_offset);
  p.B_scale = pointer_of<acc_t>(in.B_scale);
  p.B_bias = pointer_of<acc_t>(in.B_bias);
  p.C_scale = pointer_of<acc_t>(in.C_scale);
  p.C_bias = pointer_of<acc_t>(in.C_bias);
  p.lengths = pointer_of<int32_t>(in.lengths);
  p.cu_seqlens = pointer_of<int32_t>(in.cu_seqlens);
}

// --- forward ---

struct ForwardOutputs {
  Tensor out, last_state, checkpoints, y;
};

// (batch or, packed, 1; kept states of a row or, packed, of all; d_inner; d_state)
std::vector<int64_t> checkpoint_sizes(const Inputs& in, int64_t every) {
  const int64_t outer = in.packed() ? 1 : in.rows();
  const int64_t kept =
      every > 0 ? kernels::n_row_parts(in.packed() ? in.rows() : 1, in.seqlen(), in.packed(), every) : 0;
  return {every > 0 ? outer : 0, kept, in.d_inner(), in.d_state()};
}

ForwardOutputs allocate_forward(const Inputs& in, int64_t checkpoint_every, bool keep_y) {
  return {at::empty(in.u.sizes(), in.u.options()), at::empty({in.rows(), in.d_inner(), in.d_state()}, in.acc_options()),
          at::empty(checkpoint_sizes(in, checkpoint_every), in.acc_options()),
          keep_y ? at::empty(in.u.sizes(), in.u.options()) : at::empty({0}, in.u.options())};
}

template <typename scalar_t>
kernels::SelectiveScanFwdParams<scalar_t> forward_params(const Inputs& in, const ForwardOutputs& outputs,
                                                         int64_t checkpoint_every) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::SelectiveScanFwdParams<scalar_t> p;
  fill_inputs(in, p);
  p.out = mutable_pointer_of<scalar_t>(outputs.out);
  p.last_state = mutable_pointer_of<acc_t>(outputs.last_state);
  p.checkpoint_every = checkpoint_every;
  if (checkpoint_every > 0) p.checkpoints = mutable_pointer_of<acc_t>(outputs.checkpoints);
  if (outputs.y.numel() > 0) p.y = mutable_pointer_of<scalar_t>(outputs.y);
  return p;
}

// The cadence belongs to the device's kernels: they accept no other.
void check_kept(const Inputs& in, int64_t checkpoint_every, bool with_y) {
  if (in.u.is_cuda()) {
#ifdef MPEFT_HAS_CUDA
    TORCH_CHECK(checkpoint_every == 0 || kernels::selective_scan_accepts_checkpoint_every(checkpoint_every), kOp,
                ": checkpoint_every must be 0, ", kernels::kSelectiveScanCheckpointEvery, " or ",
                kernels::kSelectiveScanCompactEvery, " on ", in.u.device(), ", got ", checkpoint_every);
#endif
    return;
  }
  TORCH_CHECK(checkpoint_every == 0 || checkpoint_every == kernels::kCpuCheckpointEvery, kOp,
              ": checkpoint_every must be 0 or ", kernels::kCpuCheckpointEvery, " on the CPU, got ", checkpoint_every);
  TORCH_CHECK(!with_y, kOp, ": the backward on the CPU computes y itself; keep_y is for CUDA");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> forward_cpu(MPEFT_SCAN_PARAMETERS, int64_t checkpoint_every, bool keep_y) {
  const Inputs in = checked_inputs(MPEFT_SCAN_ARGUMENTS);
  check_kept(in, checkpoint_every, keep_y);
  const ForwardOutputs outputs = allocate_forward(in, checkpoint_every, keep_y);
  dispatch_cpu_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
    kernels::selective_scan_fwd_cpu(forward_params<scalar_t>(in, outputs, checkpoint_every), at_parallel_for);
  });
  return {outputs.out, outputs.last_state, outputs.checkpoints, outputs.y};
}

#ifdef MPEFT_HAS_CUDA
std::tuple<Tensor, Tensor, Tensor, Tensor> forward_cuda(MPEFT_SCAN_PARAMETERS, int64_t checkpoint_every, bool keep_y) {
  const Inputs in = checked_inputs(MPEFT_SCAN_ARGUMENTS);
  check_kept(in, checkpoint_every, keep_y);
  const c10::cuda::CUDAGuard guard(u.device());
  const ForwardOutputs outputs = allocate_forward(in, checkpoint_every, keep_y);
  if (outputs.last_state.numel() > 0) {
    dispatch_cuda_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      C10_CUDA_CHECK(kernels::launch_selective_scan_fwd(forward_params<scalar_t>(in, outputs, checkpoint_every),
                                                        c10::cuda::getCurrentCUDAStream().stream()));
    });
  }
  return {outputs.out, outputs.last_state, outputs.checkpoints, outputs.y};
}
#endif

// Shapes only, symbolic ones too (torch.compile, opcheck).
std::tuple<Tensor, Tensor, Tensor, Tensor> forward_meta(MPEFT_SCAN_PARAMETERS, int64_t checkpoint_every, bool keep_y) {
  const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  const auto batch = u.sym_size(0), seqlen = u.sym_size(1), d_inner = u.sym_size(2), d_state = A.sym_size(1);
  const auto rows = in.packed() ? in.cu_seqlens.sym_size(0) - 1 : batch;
  const bool keeps = checkpoint_every > 0;
  c10::SymInt kept = 0;
  if (keeps) {
    kept = in.packed() ? seqlen / checkpoint_every + rows : (seqlen + (checkpoint_every - 1)) / checkpoint_every;
  }
  return {at::empty_symint({batch, seqlen, d_inner}, u.options()),
          at::empty_symint({rows, d_inner, d_state}, in.acc_options()),
          at::empty_symint({keeps ? batch : c10::SymInt(0), kept, d_inner, d_state}, in.acc_options()),
          keep_y ? at::empty_symint({batch, seqlen, d_inner}, u.options()) : at::empty({0}, u.options())};
}

auto forward_op() {
  static const auto op = find_op<std::remove_pointer_t<decltype(&forward_meta)>>("mpeft::selective_scan_forward");
  return op;
}

// --- backward ---

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

auto backward_op() {
  static const auto op = find_op<std::remove_pointer_t<decltype(&backward_meta)>>("mpeft::selective_scan_backward");
  return op;
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

// --- the public operator ---

// What the device's kernels keep for the backward.
struct Kept {
  int64_t every;  // steps between two states
  bool y;
};

Kept what_to_keep([[maybe_unused]] const Inputs& in, [[maybe_unused]] bool compact_states) {
#ifdef MPEFT_HAS_CUDA
  if (in.u.is_cuda()) {
    if (compact_states) return {kernels::kSelectiveScanCompactEvery, false};
    Kept kept{kernels::kSelectiveScanCheckpointEvery, false};
    dispatch_cuda_dtype(kOp, in.u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      kernels::SelectiveScanInputs<scalar_t> p;
      fill_inputs(in, p);
      kept.y = kernels::selective_scan_keeps_y(p);
    });
    return kept;
  }
#endif
  return {kernels::kCpuCheckpointEvery, false};
}

class SelectiveScanFunction : public torch::autograd::Function<SelectiveScanFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, MPEFT_SCAN_PARAMETERS, bool compact_states) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
    const Kept kept = what_to_keep(in, compact_states);
    auto [out, last_state, checkpoints, y] = forward_op().call(MPEFT_SCAN_ARGUMENTS, kept.every, kept.y);
    std::vector<Tensor> saved{in.lengths, in.cu_seqlens, checkpoints, kept.y ? y : Tensor()};
    for (const Tensor* input : in.differentiable()) saved.push_back(*input);
    ctx->save_for_backward(saved);
    // needs_input_grad counts the tensors in the order of this function's arguments: lengths stand between.
    auto edges = gradient_edges(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, state_offset, out_offset,
                                B_scale, B_bias, C_scale, C_bias);
    edges.erase(edges.begin() + kInitialState + 1);
    ctx->saved_data["edges"] = edges;
    ctx->saved_data["delta_softplus"] = delta_softplus;
    ctx->saved_data["checkpoint_every"] = kept.every;
    ctx->set_materialize_grads(false);  // an unused output's gradient stays undefined: nothing to add up
    return {out, last_state};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto edges = ctx->saved_data["edges"].toIntVector();
    Mask mask{};
    for (size_t i = 0; i < kGradients; ++i) mask[i] = wants_gradient(*ctx, edges[i]);
    const auto optional = [](const Tensor& tensor) { return tensor.defined() ? OptionalTensor(tensor) : std::nullopt; };
    const auto input = [&](Gradient which) -> const Tensor& { return saved[4 + which]; };
    const auto grads = backward_op().call(
        optional(grad_outputs[0]), optional(grad_outputs[1]), input(kU), input(kDelta), input(kA), input(kB), input(kC),
        optional(input(kD)), optional(input(kZ)), optional(input(kDeltaBias)), optional(input(kInitialState)),
        optional(saved[0]), ctx->saved_data["delta_softplus"].toBool(), optional(input(kStateOffset)),
        optional(input(kOutOffset)), optional(input(kBScale)), optional(input(kBBias)), optional(input(kCScale)),
        optional(input(kCBias)), optional(saved[1]), saved[2], ctx->saved_data["checkpoint_every"].toInt(),
        optional(saved[3]), mask);
    auto list = std::apply([](const auto&... g) { return variable_list{g...}; }, grads);
    list.insert(list.begin() + kInitialState + 1, {Tensor(), Tensor()});  // lengths, delta_softplus
    list.insert(list.end(), {Tensor(), Tensor()});                        // cu_seqlens, compact_states
    return list;
  }
};

// The number of states that the fast CUDA kernels take in d_state's place, 0 where it stays: more states whose B and C
// are zero change nothing, and 24 states as 32 are ten times as fast as by the kernel for any number.
int64_t padded_states(const Inputs& in) {
  const bool has_terms = in.state_offset.defined() || in.out_offset.defined() || in.B_scale.defined() ||
                         in.B_bias.defined() || in.C_scale.defined() || in.C_bias.defined();
  if (!in.u.is_cuda() || in.A.dim() != 2 || has_terms) return 0;
  for (const int64_t fast : {8, 16, 32, 64}) {
    if (in.d_state() <= fast) return in.d_state() < fast ? fast : 0;
  }
  return 0;
}

// The public operator with more states, differentiable: zeros behind A, B, C and initial_state.
std::tuple<Tensor, Tensor> scan_padded(const Inputs& in, int64_t states, bool compact_states) {
  check(in);  // a message about shapes speaks of those that were given
  const int64_t N = in.d_state();
  const auto pad = [&](const Tensor& t) { return t.defined() ? at::constant_pad_nd(t, {0, states - N}) : t; };
  const auto optional = [](const Tensor& t) { return t.defined() ? OptionalTensor(t) : std::nullopt; };
  auto [out, last_state] = selective_scan({.u = in.u,
                                           .delta = in.delta,
                                           .A = pad(in.A),
                                           .B = pad(in.B),
                                           .C = pad(in.C),
                                           .D = optional(in.D),
                                           .z = optional(in.z),
                                           .delta_bias = optional(in.delta_bias),
                                           .initial_state = optional(pad(in.initial_state)),
                                           .lengths = optional(in.lengths),
                                           .delta_softplus = in.delta_softplus,
                                           .cu_seqlens = optional(in.cu_seqlens),
                                           .compact_states = compact_states});
  return {out, last_state.narrow(2, 0, N).contiguous()};
}

std::tuple<Tensor, Tensor> scan_without_graph(MPEFT_SCAN_PARAMETERS, bool compact_states) {
  const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  if (const int64_t states = padded_states(in); states > 0) return scan_padded(in, states, compact_states);
  auto [out, last_state, checkpoints, y] =
      forward_op().call(MPEFT_SCAN_ARGUMENTS, /*checkpoint_every=*/0, /*keep_y=*/false);
  return {out, last_state};
}

std::tuple<Tensor, Tensor> scan_autograd(MPEFT_SCAN_PARAMETERS, bool compact_states) {
  const Inputs in = given_inputs(MPEFT_SCAN_ARGUMENTS);
  if (const int64_t states = padded_states(in); states > 0) return scan_padded(in, states, compact_states);
  if (!needs_graph(u, delta, A, B, C, D, z, delta_bias, initial_state, state_offset, out_offset, B_scale, B_bias,
                   C_scale, C_bias)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return scan_without_graph(MPEFT_SCAN_ARGUMENTS, compact_states);
  }
  auto outputs = SelectiveScanFunction::apply(MPEFT_SCAN_ARGUMENTS, compact_states);
  return {outputs[0], outputs[1]};
}

#undef MPEFT_SCAN_PARAMETERS
#undef MPEFT_SCAN_ARGUMENTS

}  // namespace

std::tuple<Tensor, Tensor> selective_scan(const SelectiveScanArgs& args) {
  ensure_registered();
  static const auto op = find_op<std::remove_pointer_t<decltype(&scan_autograd)>>("mpeft::selective_scan");
  return op.call(args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state,
                 args.lengths, args.delta_softplus, args.state_offset, args.out_offset, args.B_scale, args.B_bias,
                 args.C_scale, args.C_bias, args.cu_seqlens, args.compact_states);
}

void register_selective_scan(torch::Library& library) {
  const auto inputs = [](const std::string& absent) {
    std::string text =
        "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, "
        "Tensor? initial_state, Tensor? lengths, bool delta_softplus";
    for (const char* name : {"state_offset", "out_offset", "B_scale", "B_bias", "C_scale", "C_bias", "cu_seqlens"}) {
      text += std::string(", Tensor? ") + name + absent;
    }
    return text;
  };
  library.def(torch::schema(
      ("selective_scan(" + inputs("=None") + ", bool compact_states=False) -> (Tensor out, Tensor last_state)")
          .c_str()));
  library.def(torch::schema(
      ("selective_scan_forward(" + inputs("") +
       ", int checkpoint_every, bool keep_y) -> (Tensor out, Tensor last_state, Tensor checkpoints, Tensor y)")
          .c_str()));
  library.def(torch::schema(
      ("selective_scan_backward(Tensor? dout, Tensor? dlast_state, " + inputs("") +
       ", Tensor checkpoints, int checkpoint_every, Tensor? y, bool[15] output_mask) -> (Tensor du, Tensor ddelta, "
       "Tensor dA, "
       "Tensor dB, Tensor dC, Tensor dD, Tensor dz, Tensor ddelta_bias, Tensor dinitial_state, Tensor dstate_offset, "
       "Tensor dout_offset, Tensor dB_scale, Tensor dB_bias, Tensor dC_scale, Tensor dC_bias)")
          .c_str()));

  library.impl("selective_scan", c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(scan_without_graph));
  library.impl("selective_scan", c10::DispatchKey::Autograd, TORCH_FN(scan_autograd));
  library.impl("selective_scan_forward", c10::DispatchKey::CPU, TORCH_FN(forward_cpu));
  library.impl("selective_scan_forward", c10::DispatchKey::Meta, TORCH_FN(forward_meta));
  library.impl("selective_scan_backward", c10::DispatchKey::CPU, TORCH_FN(backward_cpu));
  library.impl("selective_scan_backward", c10::DispatchKey::Meta, TORCH_FN(backward_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("selective_scan_forward", c10::DispatchKey::CUDA, TORCH_FN(forward_cuda));
  library.impl("selective_scan_backward", c10::DispatchKey::CUDA, TORCH_FN(backward_cuda));
#endif
  library.impl("selective_scan_backward", c10::DispatchKey::Autograd, TORCH_FN(backward_autograd));
}

}  // namespace mpeft::ops
