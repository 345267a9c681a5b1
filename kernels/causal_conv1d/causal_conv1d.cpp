#include "kernels/causal_conv1d/causal_conv1d.h"

#include <array>

#include <ATen/ATen.h>
#include <torch/library.h>

#include "kernels/causal_conv1d/cpu.h"
#include "kernels/glue/autograd.h"
#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/registration.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/causal_conv1d/causal_conv1d_launch.h"
#include "kernels/glue/cuda.h"
#endif

namespace mpeft::ops {

void register_causal_conv1d(torch::Library& library);

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kOp = "causal_conv1d";

// Order of the output mask and of the results of the backward.
enum Gradient { kX, kWeight, kBias, kInitialState, kGradients };
using Mask = std::array<bool, kGradients>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// What the kernels read: optional tensors are undefined when absent, strides are what the kernels can follow.
struct Inputs {
  Tensor x, weight, bias, initial_state, lengths;
  bool silu = true;
  Tensor cu_seqlens;

  bool packed() const { return cu_seqlens.defined(); }
  int64_t rows() const { return packed() ? cu_seqlens.numel() - 1 : x.size(0); }
  int64_t seqlen() const { return x.size(1); }
  int64_t d_inner() const { return x.size(2); }
  int64_t width() const { return weight.size(1); }
  at::TensorOptions acc_options() const { return x.options().dtype(accumulation_dtype(x.scalar_type())); }
};

Inputs checked_inputs(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                      const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                      const OptionalTensor& cu_seqlens) {
  Inputs in{x,
            weight,
            value_or_undefined(bias),
            value_or_undefined(initial_state),
            value_or_undefined(lengths),
            silu,
            value_or_undefined(cu_seqlens)};
  TORCH_CHECK(x.dim() == 3, kOp, ": x must be (batch, seqlen, d_inner), got ", x.sizes());
  check_compute_dtype(kOp, "x", x);
  TORCH_CHECK(weight.dim() == 2 && weight.size(1) >= 2 && weight.size(1) <= 4, kOp,
              ": weight must be (d_inner, width) with width 2, 3 or 4, got ", weight.sizes());
  const auto acc = accumulation_dtype(x.scalar_type());
  check_tensor(kOp, "weight", weight, {in.d_inner(), in.width()}, acc, x.device());
  if (in.bias.defined()) check_tensor(kOp, "bias", in.bias, {in.d_inner()}, acc, x.device());
  check_packing(kOp, "x", x, in.lengths, in.cu_seqlens);
  if (in.initial_state.defined()) {
    const int64_t rows = in.initial_state.dim() == 3 && in.initial_state.size(0) == 1 ? 1 : in.rows();
    check_tensor(kOp, "initial_state", in.initial_state, {rows, in.width() - 1, in.d_inner()}, x.scalar_type(),
                 x.device());
    in.initial_state = in.initial_state.contiguous();
  }
  if (in.lengths.defined()) in.lengths = in.lengths.contiguous();
  if (in.cu_seqlens.defined()) in.cu_seqlens = in.cu_seqlens.contiguous();
  in.x = with_contiguous_last_axis(x);
  in.weight = weight.contiguous();
  if (in.bias.defined()) in.bias = in.bias.contiguous();
  return in;
}

template <typename scalar_t>
void fill_inputs(const Inputs& in, kernels::CausalConv1dInputs<scalar_t>& p) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  p.batch = in.rows();
  p.seqlen = in.seqlen();
  p.d_inner = in.d_inner();
  p.width = in.width();
  p.silu = in.silu;
  p.x = sequence_of<scalar_t>(in.x);
  p.weight = pointer_of<acc_t>(in.weight);
  p.bias = pointer_of<acc_t>(in.bias);
  p.initial_state = pointer_of<scalar_t>(in.initial_state);
  p.initial_state_batch_stride =
      in.initial_state.defined() && in.initial_state.size(0) > 1 ? in.initial_state.stride(0) : 0;
  p.lengths = pointer_of<int32_t>(in.lengths);
  p.cu_seqlens = pointer_of<int32_t>(in.cu_seqlens);
}

// --- forward ---

std::tuple<Tensor, Tensor> allocate_forward(const Inputs& in) {
  return {at::empty(in.x.sizes(), in.x.options()),
          at::empty({in.rows(), in.width() - 1, in.d_inner()}, in.x.options())};
}

template <typename scalar_t>
kernels::CausalConv1dFwdParams<scalar_t> forward_params(const Inputs& in, const Tensor& out, const Tensor& last_state) {
  kernels::CausalConv1dFwdParams<scalar_t> p;
  fill_inputs(in, p);
  p.out = mutable_pointer_of<scalar_t>(out);
  p.last_state = mutable_pointer_of<scalar_t>(last_state);
  return p;
}

std::tuple<Tensor, Tensor> forward_cpu(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                                       const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                                       const OptionalTensor& cu_seqlens) {
  const Inputs in = checked_inputs(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  const auto outputs = allocate_forward(in);
  const Tensor& out = std::get<0>(outputs);
  const Tensor& last_state = std::get<1>(outputs);
  dispatch_cpu_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
    kernels::causal_conv1d_fwd_cpu(forward_params<scalar_t>(in, out, last_state), at_parallel_for);
  });
  return outputs;
}

#ifdef MPEFT_HAS_CUDA
std::tuple<Tensor, Tensor> forward_cuda(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                                        const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                                        const OptionalTensor& cu_seqlens) {
  const Inputs in = checked_inputs(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  const c10::cuda::CUDAGuard guard(x.device());
  const auto outputs = allocate_forward(in);
  const Tensor& out = std::get<0>(outputs);
  const Tensor& last_state = std::get<1>(outputs);
  if (out.numel() == 0) {  // no step to launch on: the state passes through
    in.initial_state.defined() ? last_state.copy_(in.initial_state) : last_state.zero_();
  } else {
    dispatch_cuda_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      C10_CUDA_CHECK(kernels::launch_causal_conv1d_fwd(forward_params<scalar_t>(in, out, last_state),
                                                       c10::cuda::getCurrentCUDAStream().stream()));
    });
  }
  return outputs;
}
#endif

std::tuple<Tensor, Tensor> forward_meta(const Tensor& x, const Tensor& weight, const OptionalTensor&,
                                        const OptionalTensor&, const OptionalTensor&, bool,
                                        const OptionalTensor& cu_seqlens) {
  const auto batch = x.sym_size(0), d_inner = x.sym_size(2);
  const auto rows = cu_seqlens ? cu_seqlens->sym_size(0) - 1 : batch;
  return {at::empty_symint({batch, x.sym_size(1), d_inner}, x.options()),
          at::empty_symint({rows, weight.sym_size(1) - 1, d_inner}, x.options())};
}

// --- backward ---

// last_state copies inputs: column j of a row is its step length - (width - 1) + j, which lies in the initial state
// when it is negative. Adds its gradient to theirs.
void add_last_state_gradient(const Inputs& in, const Tensor& dlast_state, Tensor& dx, Tensor& dinitial_state) {
  const int64_t history = in.width() - 1, rows = in.rows(), tokens = in.x.size(0) * in.seqlen();
  const auto options = in.x.options().dtype(at::kLong);
  Tensor first, length;  // (rows): of all tokens
  if (in.packed()) {
    const Tensor starts = in.cu_seqlens.to(at::kLong).clamp(0, in.seqlen());
    first = starts.slice(0, 0, rows);
    length = (starts.slice(0, 1) - first).clamp_min(0);
  } else {
    first = at::arange(rows, options) * in.seqlen();
    length =
        in.lengths.defined() ? in.lengths.to(at::kLong).clamp(0, in.seqlen()) : at::full({rows}, in.seqlen(), options);
  }
  const Tensor step = length.unsqueeze(1) - history + at::arange(history, options);  // (rows, width - 1)
  const Tensor in_state = (at::arange(rows, options) * history).unsqueeze(1) + step + history;
  const Tensor index = at::where(step < 0, in_state, rows * history + first.unsqueeze(1) + step);
  const Tensor scattered = at::zeros({rows * history + tokens, in.d_inner()}, in.acc_options())
                               .index_copy_(0, index.flatten(), dlast_state.to(in.acc_options()).flatten(0, 1));
  if (dx.defined()) dx = (dx + scattered.slice(0, rows * history).view(in.x.sizes())).to(in.x.scalar_type());
  if (dinitial_state.defined()) {
    dinitial_state = dinitial_state + scattered.slice(0, 0, rows * history).view({rows, history, in.d_inner()});
  }
}

template <typename scalar_t>
kernels::CausalConv1dBwdParams<scalar_t> backward_params(const Inputs& in, const Tensor& dout,
                                                         const std::array<Tensor, kGradients>& grads) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::CausalConv1dBwdParams<scalar_t> p;
  fill_inputs(in, p);
  p.dout = sequence_of<scalar_t>(dout);
  p.dx = mutable_sequence_of<scalar_t>(grads[kX]);
  p.dweight = mutable_pointer_of<acc_t>(grads[kWeight]);
  p.dbias = mutable_pointer_of<acc_t>(grads[kBias]);
  p.dinitial_state = mutable_pointer_of<acc_t>(grads[kInitialState]);
  return p;
}

template <typename Launch>
Gradients run_backward(const OptionalTensor& dout_in, const OptionalTensor& dlast_state_in, const Inputs& in,
                       const Mask& mask, const Launch& launch) {
  Tensor dout = value_or_undefined(dout_in);
  if (!dout.defined()) dout = at::zeros(in.x.sizes(), in.x.options());
  check_tensor(kOp, "the gradient of out", dout, in.x.sizes(), in.x.scalar_type(), in.x.device());
  dout = with_contiguous_last_axis(dout);

  std::array<Tensor, kGradients> grads;
  if (mask[kX]) grads[kX] = at::empty(in.x.sizes(), in.x.options());
  if (mask[kWeight]) grads[kWeight] = at::empty(in.weight.sizes(), in.weight.options());
  if (mask[kBias] && in.bias.defined()) grads[kBias] = at::empty(in.bias.sizes(), in.bias.options());
  if (mask[kInitialState] && in.initial_state.defined()) {
    grads[kInitialState] = at::empty({in.rows(), in.width() - 1, in.d_inner()}, in.acc_options());
  }
  launch(dout, grads);

  const Tensor dlast_state = value_or_undefined(dlast_state_in);
  if (dlast_state.defined()) {
    check_tensor(kOp, "the gradient of last_state", dlast_state, {in.rows(), in.width() - 1, in.d_inner()},
                 in.x.scalar_type(), in.x.device());
    add_last_state_gradient(in, dlast_state, grads[kX], grads[kInitialState]);
  }
  if (grads[kInitialState].defined()) {
    if (in.initial_state.size(0) == 1) grads[kInitialState] = grads[kInitialState].sum(0, /*keepdim=*/true);
    grads[kInitialState] = grads[kInitialState].to(in.initial_state.scalar_type());
  }
  return {grads[kX], grads[kWeight], grads[kBias], grads[kInitialState]};
}

Gradients backward_cpu(const OptionalTensor& dout_in, const OptionalTensor& dlast_state, const Tensor& x,
                       const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& initial_state,
                       const OptionalTensor& lengths, bool silu, const OptionalTensor& cu_seqlens, Mask mask) {
  const Inputs in = checked_inputs(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  return run_backward(dout_in, dlast_state, in, mask,
                      [&](const Tensor& dout, const std::array<Tensor, kGradients>& grads) {
                        dispatch_cpu_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                          kernels::causal_conv1d_bwd_cpu(backward_params<scalar_t>(in, dout, grads), at_parallel_for);
                        });
                      });
}

#ifdef MPEFT_HAS_CUDA
Gradients backward_cuda(const OptionalTensor& dout_in, const OptionalTensor& dlast_state, const Tensor& x,
                        const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& initial_state,
                        const OptionalTensor& lengths, bool silu, const OptionalTensor& cu_seqlens, Mask mask) {
  const Inputs in = checked_inputs(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  const c10::cuda::CUDAGuard guard(x.device());
  return run_backward(
      dout_in, dlast_state, in, mask, [&](const Tensor& dout, const std::array<Tensor, kGradients>& grads) {
        if (x.numel() == 0) {  // nothing to launch on
          for (const Tensor& grad : grads) {
            if (grad.defined()) grad.zero_();
          }
          return;
        }
        dispatch_cuda_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
          const auto params = backward_params<scalar_t>(in, dout, grads);
          const Tensor workspace = cuda_workspace(kernels::causal_conv1d_bwd_workspace_bytes(params), x);
          C10_CUDA_CHECK(kernels::launch_causal_conv1d_bwd(params, workspace.mutable_data_ptr(),
                                                           c10::cuda::getCurrentCUDAStream().stream()));
        });
      });
}
#endif

Gradients backward_meta(const OptionalTensor&, const OptionalTensor&, const Tensor& x, const Tensor& weight,
                        const OptionalTensor& bias, const OptionalTensor& initial_state, const OptionalTensor&, bool,
                        const OptionalTensor&, Mask mask) {
  const auto like = [&](Gradient which, const Tensor& input) {
    return mask[which] && input.defined() ? at::empty_symint(input.sym_sizes(), input.options()) : Tensor();
  };
  return {like(kX, x), like(kWeight, weight), like(kBias, value_or_undefined(bias)),
          like(kInitialState, value_or_undefined(initial_state))};
}

using ForwardSignature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const OptionalTensor&,
                                                    const OptionalTensor&, const OptionalTensor&, bool,
                                                    const OptionalTensor&);
using BackwardSignature = Gradients(const OptionalTensor&, const OptionalTensor&, const Tensor&, const Tensor&,
                                    const OptionalTensor&, const OptionalTensor&, const OptionalTensor&, bool,
                                    const OptionalTensor&, Mask);

auto forward_op() {
  static const auto op = find_op<ForwardSignature>("mpeft::causal_conv1d");
  return op;
}

auto backward_op() {
  static const auto op = find_op<BackwardSignature>("mpeft::causal_conv1d_backward");
  return op;
}

// Computes, then makes its results refuse a second differentiation.
Gradients backward_autograd(const OptionalTensor& dout, const OptionalTensor& dlast_state, const Tensor& x,
                            const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& initial_state,
                            const OptionalTensor& lengths, bool silu, const OptionalTensor& cu_seqlens, Mask mask) {
  Gradients grads;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    grads = backward_op().call(dout, dlast_state, x, weight, bias, initial_state, lengths, silu, cu_seqlens, mask);
  }
  forbid_double_backward(kOp,
                         {value_or_undefined(dout), value_or_undefined(dlast_state), x, weight,
                          value_or_undefined(bias), value_or_undefined(initial_state)},
                         std::apply([](const auto&... g) { return std::vector<Tensor>{g...}; }, grads));
  return grads;
}

class CausalConv1dFunction : public torch::autograd::Function<CausalConv1dFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                               const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                               const OptionalTensor& cu_seqlens) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [out, last_state] = forward_op().call(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
    ctx->save_for_backward({x, weight, value_or_undefined(bias), value_or_undefined(initial_state),
                            value_or_undefined(lengths), value_or_undefined(cu_seqlens)});
    ctx->saved_data["edges"] = gradient_edges(x, weight, bias, initial_state);
    ctx->saved_data["silu"] = silu;
    ctx->set_materialize_grads(false);
    return {out, last_state};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto edges = ctx->saved_data["edges"].toIntVector();
    Mask mask{};
    for (size_t i = 0; i < kGradients; ++i) mask[i] = wants_gradient(*ctx, edges[i]);
    const auto optional = [](const Tensor& tensor) { return tensor.defined() ? OptionalTensor(tensor) : std::nullopt; };
    auto [dx, dweight, dbias, dinitial_state] = backward_op().call(
        optional(grad_outputs[0]), optional(grad_outputs[1]), saved[0], saved[1], optional(saved[2]),
        optional(saved[3]), optional(saved[4]), ctx->saved_data["silu"].toBool(), optional(saved[5]), mask);
    return {dx, dweight, dbias, dinitial_state, Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor> conv_autograd(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                                         const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                                         const OptionalTensor& cu_seqlens) {
  if (!needs_graph(x, weight, bias, initial_state)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return forward_op().call(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  }
  auto outputs = CausalConv1dFunction::apply(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
  return {outputs[0], outputs[1]};
}

}  // namespace

std::tuple<Tensor, Tensor> causal_conv1d(const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
                                         const OptionalTensor& initial_state, const OptionalTensor& lengths, bool silu,
                                         const OptionalTensor& cu_seqlens) {
  ensure_registered();
  return forward_op().call(x, weight, bias, initial_state, lengths, silu, cu_seqlens);
}

void register_causal_conv1d(torch::Library& library) {
  const std::string inputs =
      "Tensor x, Tensor weight, Tensor? bias, Tensor? initial_state, Tensor? lengths, bool silu, Tensor? cu_seqlens";
  library.def(torch::schema(("causal_conv1d(" + inputs + "=None) -> (Tensor out, Tensor last_state)").c_str()));
  library.def(
      torch::schema(("causal_conv1d_backward(Tensor? dout, Tensor? dlast_state, " + inputs +
                     ", bool[4] output_mask) -> (Tensor dx, Tensor dweight, Tensor dbias, Tensor dinitial_state)")
                        .c_str()));

  library.impl("causal_conv1d", c10::DispatchKey::CPU, TORCH_FN(forward_cpu));
  library.impl("causal_conv1d", c10::DispatchKey::Meta, TORCH_FN(forward_meta));
  library.impl("causal_conv1d", c10::DispatchKey::Autograd, TORCH_FN(conv_autograd));
  library.impl("causal_conv1d_backward", c10::DispatchKey::CPU, TORCH_FN(backward_cpu));
  library.impl("causal_conv1d_backward", c10::DispatchKey::Meta, TORCH_FN(backward_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("causal_conv1d", c10::DispatchKey::CUDA, TORCH_FN(forward_cuda));
  library.impl("causal_conv1d_backward", c10::DispatchKey::CUDA, TORCH_FN(backward_cuda));
#endif
  library.impl("causal_conv1d_backward", c10::DispatchKey::Autograd, TORCH_FN(backward_autograd));
}

}  // namespace mpeft::ops
