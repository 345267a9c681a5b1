#include "kernels/selective_scan/selective_scan.h"

#include <array>

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

// Order of the output mask and of the results of the backward.
enum Gradient { kU, kDelta, kA, kB, kC, kD, kZ, kDeltaBias, kInitialState, kGradients };
using Mask = std::array<bool, kGradients>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// What the kernels read: optional tensors are undefined when absent, strides are what the kernels can follow.
struct Inputs {
  Tensor u, delta, A, B, C, D, z, delta_bias, initial_state, lengths;
  bool delta_softplus = true;

  int64_t batch() const { return u.size(0); }
  int64_t seqlen() const { return u.size(1); }
  int64_t d_inner() const { return u.size(2); }
  int64_t d_state() const { return A.size(1); }
  at::TensorOptions acc_options() const { return u.options().dtype(accumulation_dtype(u.scalar_type())); }
};

void check(const Inputs& in) {
  TORCH_CHECK(in.u.dim() == 3, kOp, ": u must be (batch, seqlen, d_inner), got ", in.u.sizes());
  TORCH_CHECK(in.A.dim() == 2, kOp, ": A must be (d_inner, d_state), got ", in.A.sizes());
  check_compute_dtype(kOp, "u", in.u);
  const auto dtype = in.u.scalar_type();
  const auto acc = accumulation_dtype(dtype);
  const auto device = in.u.device();
  const int64_t batch = in.batch(), seqlen = in.seqlen(), d_inner = in.d_inner(), d_state = in.d_state();
  TORCH_CHECK(d_state >= 1 && d_state <= 256, kOp, ": d_state must be 1 to 256, got ", d_state);
  check_tensor(kOp, "delta", in.delta, {batch, seqlen, d_inner}, dtype, device);
  check_tensor(kOp, "A", in.A, {d_inner, d_state}, acc, device);
  check_tensor(kOp, "B", in.B, {batch, seqlen, d_state}, dtype, device);
  check_tensor(kOp, "C", in.C, {batch, seqlen, d_state}, dtype, device);
  if (in.D.defined()) check_tensor(kOp, "D", in.D, {d_inner}, acc, device);
  if (in.z.defined()) check_tensor(kOp, "z", in.z, {batch, seqlen, d_inner}, dtype, device);
  if (in.delta_bias.defined()) check_tensor(kOp, "delta_bias", in.delta_bias, {d_inner}, acc, device);
  if (in.initial_state.defined()) {
    const int64_t rows = in.initial_state.dim() == 3 && in.initial_state.size(0) == 1 ? 1 : batch;
    check_tensor(kOp, "initial_state", in.initial_state, {rows, d_inner, d_state}, acc, device);
  }
  if (in.lengths.defined()) check_tensor(kOp, "lengths", in.lengths, {batch}, at::kInt, device);
}

Tensor contiguous_if_defined(const Tensor& tensor) { return tensor.defined() ? tensor.contiguous() : tensor; }

Inputs checked_inputs(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                      const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                      const OptionalTensor& initial_state, const OptionalTensor& lengths, bool delta_softplus) {
  Inputs in{u,
            delta,
            A,
            B,
            C,
            value_or_undefined(D),
            value_or_undefined(z),
            value_or_undefined(delta_bias),
            value_or_undefined(initial_state),
            value_or_undefined(lengths),
            delta_softplus};
  check(in);
  for (Tensor* sequence : {&in.u, &in.delta, &in.B, &in.C}) *sequence = with_contiguous_last_axis(*sequence);
  if (in.z.defined()) in.z = with_contiguous_last_axis(in.z);
  for (Tensor* small : {&in.A, &in.D, &in.delta_bias, &in.initial_state, &in.lengths})
    *small = contiguous_if_defined(*small);
  return in;
}

template <typename scalar_t>
void fill_inputs(const Inputs& in, kernels::SelectiveScanInputs<scalar_t>& p) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  p.batch = in.batch();
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
  p.lengths = pointer_of<int32_t>(in.lengths);
}

// --- forward ---

struct ForwardOutputs {
  Tensor out, last_state, checkpoints;
};

int64_t n_checkpoints(int64_t seqlen, int64_t checkpoint_every) {
  return (seqlen + checkpoint_every - 1) / checkpoint_every;
}

ForwardOutputs allocate_forward(const Inputs& in, int64_t checkpoint_every) {
  const int64_t kept = checkpoint_every > 0 ? n_checkpoints(in.seqlen(), checkpoint_every) : 0;
  return {at::empty({in.batch(), in.seqlen(), in.d_inner()}, in.u.options()),
          at::empty({in.batch(), in.d_inner(), in.d_state()}, in.acc_options()),
          at::empty({checkpoint_every > 0 ? in.batch() : 0, kept, in.d_inner(), in.d_state()}, in.acc_options())};
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
  return p;
}

// The cadence belongs to the device's kernels: they accept no other.
void check_checkpoint_every(int64_t checkpoint_every, int64_t expected, const Inputs& in) {
  TORCH_CHECK(checkpoint_every == 0 || checkpoint_every == expected, kOp, ": checkpoint_every must be 0 or ", expected,
              " on ", in.u.device(), ", got ", checkpoint_every);
}

std::tuple<Tensor, Tensor, Tensor> forward_cpu(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B,
                                               const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                                               const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                                               const OptionalTensor& lengths, bool delta_softplus,
                                               int64_t checkpoint_every) {
  const Inputs in = checked_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  check_checkpoint_every(checkpoint_every, kernels::kCpuCheckpointEvery, in);
  const ForwardOutputs outputs = allocate_forward(in, checkpoint_every);
  dispatch_cpu_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
    kernels::selective_scan_fwd_cpu(forward_params<scalar_t>(in, outputs, checkpoint_every), at_parallel_for);
  });
  return {outputs.out, outputs.last_state, outputs.checkpoints};
}

#ifdef MPEFT_HAS_CUDA
std::tuple<Tensor, Tensor, Tensor> forward_cuda(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B,
                                                const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                                                const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                                                const OptionalTensor& lengths, bool delta_softplus,
                                                int64_t checkpoint_every) {
  const Inputs in = checked_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  check_checkpoint_every(checkpoint_every, kernels::selective_scan_checkpoint_every(), in);
  const c10::cuda::CUDAGuard guard(u.device());
  const ForwardOutputs outputs = allocate_forward(in, checkpoint_every);
  if (outputs.last_state.numel() > 0) {
    dispatch_cuda_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      C10_CUDA_CHECK(kernels::launch_selective_scan_fwd(forward_params<scalar_t>(in, outputs, checkpoint_every),
                                                        c10::cuda::getCurrentCUDAStream().stream()));
    });
  }
  return {outputs.out, outputs.last_state, outputs.checkpoints};
}
#endif

// Shapes only, symbolic ones too (torch.compile, opcheck).
std::tuple<Tensor, Tensor, Tensor> forward_meta(const Tensor& u, const Tensor&, const Tensor& A, const Tensor&,
                                                const Tensor&, const OptionalTensor&, const OptionalTensor&,
                                                const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                                bool, int64_t checkpoint_every) {
  const auto batch = u.sym_size(0), seqlen = u.sym_size(1), d_inner = u.sym_size(2), d_state = A.sym_size(1);
  const auto acc = u.options().dtype(accumulation_dtype(u.scalar_type()));
  const bool keeps = checkpoint_every > 0;
  const c10::SymInt kept = keeps ? (seqlen + (checkpoint_every - 1)) / checkpoint_every : c10::SymInt(0);
  return {at::empty_symint({batch, seqlen, d_inner}, u.options()), at::empty_symint({batch, d_inner, d_state}, acc),
          at::empty_symint({keeps ? batch : c10::SymInt(0), kept, d_inner, d_state}, acc)};
}

using ForwardSignature = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                            const Tensor&, const OptionalTensor&, const OptionalTensor&,
                                                            const OptionalTensor&, const OptionalTensor&,
                                                            const OptionalTensor&, bool, int64_t);

auto forward_op() {
  static const auto op = find_op<ForwardSignature>("mpeft::selective_scan_forward");
  return op;
}

// --- backward ---

// Undefined where the mask says that nobody wants the gradient, or where the input is absent.
std::array<Tensor, kGradients> allocate_gradients(const Inputs& in, const Mask& mask) {
  std::array<Tensor, kGradients> grads;
  const auto like = [&](Gradient which, const Tensor& input) {
    if (mask[which] && input.defined()) grads[which] = at::empty(input.sizes(), input.options());
  };
  like(kU, in.u);
  like(kDelta, in.delta);
  like(kA, in.A);
  like(kB, in.B);
  like(kC, in.C);
  like(kD, in.D);
  like(kZ, in.z);
  like(kDeltaBias, in.delta_bias);
  if (mask[kInitialState] && in.initial_state.defined()) {
    grads[kInitialState] = at::empty({in.batch(), in.d_inner(), in.d_state()}, in.acc_options());
  }
  return grads;
}

template <typename scalar_t>
kernels::SelectiveScanBwdParams<scalar_t> backward_params(const Inputs& in, const Tensor& dout,
                                                          const Tensor& dlast_state, const Tensor& checkpoints,
                                                          int64_t checkpoint_every,
                                                          const std::array<Tensor, kGradients>& grads) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::SelectiveScanBwdParams<scalar_t> p;
  fill_inputs(in, p);
  p.dout = sequence_of<scalar_t>(dout);
  p.dlast_state = pointer_of<acc_t>(dlast_state);
  p.checkpoint_every = checkpoint_every;
  p.checkpoints = pointer_of<acc_t>(checkpoints);
  p.du = mutable_sequence_of<scalar_t>(grads[kU]);
  p.ddelta = mutable_sequence_of<scalar_t>(grads[kDelta]);
  p.dz = mutable_sequence_of<scalar_t>(grads[kZ]);
  p.dB = mutable_sequence_of<scalar_t>(grads[kB]);
  p.dC = mutable_sequence_of<scalar_t>(grads[kC]);
  p.dA = mutable_pointer_of<acc_t>(grads[kA]);
  p.dD = mutable_pointer_of<acc_t>(grads[kD]);
  p.ddelta_bias = mutable_pointer_of<acc_t>(grads[kDeltaBias]);
  p.dinitial_state = mutable_pointer_of<acc_t>(grads[kInitialState]);
  return p;
}

// What both devices do around their launch: check, fill in absent gradients of the outputs, sum a shared initial
// state's.
template <typename Launch>
Gradients run_backward(const OptionalTensor& dout_in, const OptionalTensor& dlast_state_in, const Inputs& in,
                       const Tensor& checkpoints, int64_t checkpoint_every, const Mask& mask, const Launch& launch) {
  const auto device = in.u.device();
  Tensor dout = value_or_undefined(dout_in);
  if (!dout.defined()) dout = at::zeros({in.batch(), in.seqlen(), in.d_inner()}, in.u.options());
  check_tensor(kOp, "the gradient of out", dout, {in.batch(), in.seqlen(), in.d_inner()}, in.u.scalar_type(), device);
  dout = with_contiguous_last_axis(dout);
  Tensor dlast_state = contiguous_if_defined(value_or_undefined(dlast_state_in));
  if (dlast_state.defined()) {
    check_tensor(kOp, "the gradient of last_state", dlast_state, {in.batch(), in.d_inner(), in.d_state()},
                 accumulation_dtype(in.u.scalar_type()), device);
  }
  check_tensor(kOp, "checkpoints", checkpoints,
               {in.batch(), n_checkpoints(in.seqlen(), checkpoint_every), in.d_inner(), in.d_state()},
               accumulation_dtype(in.u.scalar_type()), device);
  TORCH_CHECK(checkpoints.is_contiguous(), kOp, ": checkpoints must be as the forward left them");

  auto grads = allocate_gradients(in, mask);
  launch(dout, dlast_state, grads);
  if (grads[kInitialState].defined() && in.initial_state.size(0) == 1) {
    grads[kInitialState] = grads[kInitialState].sum(0, /*keepdim=*/true);
  }
  return {grads[kU], grads[kDelta], grads[kA],         grads[kB],           grads[kC],
          grads[kD], grads[kZ],     grads[kDeltaBias], grads[kInitialState]};
}

Gradients backward_cpu(const OptionalTensor& dout_in, const OptionalTensor& dlast_state_in, const Tensor& u,
                       const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                       const OptionalTensor& z, const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                       const OptionalTensor& lengths, bool delta_softplus, const Tensor& checkpoints,
                       int64_t checkpoint_every, Mask mask) {
  const Inputs in = checked_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  check_checkpoint_every(checkpoint_every, kernels::kCpuCheckpointEvery, in);
  return run_backward(dout_in, dlast_state_in, in, checkpoints, checkpoint_every, mask,
                      [&](const Tensor& dout, const Tensor& dlast_state, const std::array<Tensor, kGradients>& grads) {
                        dispatch_cpu_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                          kernels::selective_scan_bwd_cpu(
                              backward_params<scalar_t>(in, dout, dlast_state, checkpoints, checkpoint_every, grads),
                              at_parallel_for);
                        });
                      });
}

#ifdef MPEFT_HAS_CUDA
Gradients backward_cuda(const OptionalTensor& dout_in, const OptionalTensor& dlast_state_in, const Tensor& u,
                        const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                        const OptionalTensor& z, const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                        const OptionalTensor& lengths, bool delta_softplus, const Tensor& checkpoints,
                        int64_t checkpoint_every, Mask mask) {
  const Inputs in = checked_inputs(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  check_checkpoint_every(checkpoint_every, kernels::selective_scan_checkpoint_every(), in);
  const c10::cuda::CUDAGuard guard(u.device());
  return run_backward(
      dout_in, dlast_state_in, in, checkpoints, checkpoint_every, mask,
      [&](const Tensor& dout, const Tensor& dlast_state, const std::array<Tensor, kGradients>& grads) {
        if (u.numel() == 0) {  // nothing to launch on: the state passes through, the sums are empty
          for (const Tensor& grad : grads) {
            if (grad.defined()) grad.zero_();
          }
          if (grads[kInitialState].defined() && dlast_state.defined()) grads[kInitialState].copy_(dlast_state);
          return;
        }
        dispatch_cuda_dtype(kOp, u.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
          const auto params = backward_params<scalar_t>(in, dout, dlast_state, checkpoints, checkpoint_every, grads);
          const Tensor workspace = cuda_workspace(kernels::selective_scan_bwd_workspace_bytes(params), u);
          C10_CUDA_CHECK(kernels::launch_selective_scan_bwd(params, workspace.mutable_data_ptr(),
                                                            c10::cuda::getCurrentCUDAStream().stream()));
        });
      });
}
#endif

Gradients backward_meta(const OptionalTensor&, const OptionalTensor&, const Tensor& u, const Tensor& delta,
                        const Tensor& A, const Tensor& B, const Tensor& C, const OptionalTensor& D,
                        const OptionalTensor& z, const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                        const OptionalTensor&, bool, const Tensor&, int64_t, Mask mask) {
  const auto like = [&](Gradient which, const Tensor& input) {
    return mask[which] && input.defined() ? at::empty_symint(input.sym_sizes(), input.options()) : Tensor();
  };
  return {like(kU, u),
          like(kDelta, delta),
          like(kA, A),
          like(kB, B),
          like(kC, C),
          like(kD, value_or_undefined(D)),
          like(kZ, value_or_undefined(z)),
          like(kDeltaBias, value_or_undefined(delta_bias)),
          like(kInitialState, value_or_undefined(initial_state))};
}

using BackwardSignature = Gradients(const OptionalTensor&, const OptionalTensor&, const Tensor&, const Tensor&,
                                    const Tensor&, const Tensor&, const Tensor&, const OptionalTensor&,
                                    const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                    const OptionalTensor&, bool, const Tensor&, int64_t, Mask);

auto backward_op() {
  static const auto op = find_op<BackwardSignature>("mpeft::selective_scan_backward");
  return op;
}

// The backward's own autograd kernel: computes, then makes its results refuse a second differentiation.
Gradients backward_autograd(const OptionalTensor& dout, const OptionalTensor& dlast_state, const Tensor& u,
                            const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
                            const OptionalTensor& D, const OptionalTensor& z, const OptionalTensor& delta_bias,
                            const OptionalTensor& initial_state, const OptionalTensor& lengths, bool delta_softplus,
                            const Tensor& checkpoints, int64_t checkpoint_every, Mask mask) {
  Gradients grads;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    grads = backward_op().call(dout, dlast_state, u, delta, A, B, C, D, z, delta_bias, initial_state, lengths,
                               delta_softplus, checkpoints, checkpoint_every, mask);
  }
  forbid_double_backward(
      kOp,
      {value_or_undefined(dout), value_or_undefined(dlast_state), u, delta, A, B, C, value_or_undefined(D),
       value_or_undefined(z), value_or_undefined(delta_bias), value_or_undefined(initial_state)},
      std::apply([](const auto&... g) { return std::vector<Tensor>{g...}; }, grads));
  return grads;
}

// --- the public operator ---

// Steps between two states that the device's kernels keep for the backward.
int64_t checkpoint_every_on([[maybe_unused]] const at::Device& device) {
#ifdef MPEFT_HAS_CUDA
  if (device.is_cuda()) return kernels::selective_scan_checkpoint_every();
#endif
  return kernels::kCpuCheckpointEvery;
}

class SelectiveScanFunction : public torch::autograd::Function<SelectiveScanFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& u, const Tensor& delta, const Tensor& A,
                               const Tensor& B, const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                               const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                               const OptionalTensor& lengths, bool delta_softplus) {
    at::AutoDispatchBelowADInplaceOrView below;
    const int64_t every = checkpoint_every_on(u.device());
    auto [out, last_state, checkpoints] =
        forward_op().call(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus, every);
    ctx->save_for_backward({u, delta, A, B, C, value_or_undefined(D), value_or_undefined(z),
                            value_or_undefined(delta_bias), value_or_undefined(initial_state),
                            value_or_undefined(lengths), checkpoints});
    ctx->saved_data["edges"] = gradient_edges(u, delta, A, B, C, D, z, delta_bias, initial_state);
    ctx->saved_data["delta_softplus"] = delta_softplus;
    ctx->saved_data["checkpoint_every"] = every;
    ctx->set_materialize_grads(false);  // an unused output's gradient stays undefined: nothing to add up
    return {out, last_state};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto edges = ctx->saved_data["edges"].toIntVector();
    Mask mask{};
    for (size_t i = 0; i < kGradients; ++i) mask[i] = wants_gradient(*ctx, edges[i]);
    const auto optional = [](const Tensor& tensor) { return tensor.defined() ? OptionalTensor(tensor) : std::nullopt; };
    auto [du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state] = backward_op().call(
        optional(grad_outputs[0]), optional(grad_outputs[1]), saved[0], saved[1], saved[2], saved[3], saved[4],
        optional(saved[5]), optional(saved[6]), optional(saved[7]), optional(saved[8]), optional(saved[9]),
        ctx->saved_data["delta_softplus"].toBool(), saved[10], ctx->saved_data["checkpoint_every"].toInt(), mask);
    return {du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state, Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor> scan_without_graph(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B,
                                              const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                                              const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                                              const OptionalTensor& lengths, bool delta_softplus) {
  auto [out, last_state, checkpoints] = forward_op().call(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths,
                                                          delta_softplus, /*checkpoint_every=*/0);
  return {out, last_state};
}

std::tuple<Tensor, Tensor> scan_autograd(const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B,
                                         const Tensor& C, const OptionalTensor& D, const OptionalTensor& z,
                                         const OptionalTensor& delta_bias, const OptionalTensor& initial_state,
                                         const OptionalTensor& lengths, bool delta_softplus) {
  if (!needs_graph(u, delta, A, B, C, D, z, delta_bias, initial_state)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return scan_without_graph(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  }
  auto outputs =
      SelectiveScanFunction::apply(u, delta, A, B, C, D, z, delta_bias, initial_state, lengths, delta_softplus);
  return {outputs[0], outputs[1]};
}

using ScanSignature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Tensor&,
                                                 const Tensor&, const OptionalTensor&, const OptionalTensor&,
                                                 const OptionalTensor&, const OptionalTensor&, const OptionalTensor&,
                                                 bool);

}  // namespace

std::tuple<Tensor, Tensor> selective_scan(const SelectiveScanArgs& args) {
  ensure_registered();
  static const auto op = find_op<ScanSignature>("mpeft::selective_scan");
  return op.call(args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state,
                 args.lengths, args.delta_softplus);
}

void register_selective_scan(torch::Library& library) {
  const std::string inputs =
      "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, Tensor? "
      "initial_state, "
      "Tensor? lengths, bool delta_softplus";
  library.def(torch::schema(("selective_scan(" + inputs + ") -> (Tensor out, Tensor last_state)").c_str()));
  library.def(torch::schema(("selective_scan_forward(" + inputs +
                             ", int checkpoint_every) -> (Tensor out, Tensor last_state, Tensor checkpoints)")
                                .c_str()));
  library.def(torch::schema(("selective_scan_backward(Tensor? dout, Tensor? dlast_state, " + inputs +
                             ", Tensor checkpoints, int checkpoint_every, bool[9] output_mask) -> (Tensor du, Tensor "
                             "ddelta, Tensor dA, Tensor dB, "
                             "Tensor dC, Tensor dD, Tensor dz, Tensor ddelta_bias, Tensor dinitial_state)")
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
