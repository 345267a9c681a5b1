#include "kernels/rms_norm/rms_norm.h"

#include <array>

#include <ATen/ATen.h>
#include <torch/library.h>

#include "kernels/glue/autograd.h"
#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/registration.h"
#include "kernels/rms_norm/cpu.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/glue/cuda.h"
#include "kernels/rms_norm/rms_norm_launch.h"
#endif

namespace mpeft::ops {

void register_rms_norm(torch::Library& library);

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kOp = "rms_norm";

// Order of the output mask and of the results of the backward.
enum Gradient { kX, kResidual, kWeight, kGradients };
using Mask = std::array<bool, kGradients>;
using Gradients = std::tuple<Tensor, Tensor, Tensor>;

int64_t rows_of(const Tensor& x) { return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1); }

// --- forward ---

void check_forward(const Tensor& x, const Tensor& residual, const Tensor& weight) {
  TORCH_CHECK(x.dim() >= 1, kOp, ": x must be (..., d_model), got a scalar");
  check_compute_dtype(kOp, "x", x);
  const auto acc = accumulation_dtype(x.scalar_type());
  if (residual.defined()) check_tensor(kOp, "residual", residual, x.sizes(), acc, x.device());
  check_tensor(kOp, "weight", weight, {x.size(-1)}, acc, x.device());
}

template <typename Launch>
std::tuple<Tensor, Tensor, Tensor> run_forward(const Tensor& x_in, const OptionalTensor& residual_in,
                                               const Tensor& weight_in, const Launch& launch) {
  Tensor residual = value_or_undefined(residual_in);
  check_forward(x_in, residual, weight_in);
  const Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
  if (residual.defined()) residual = residual.contiguous();
  const auto acc = x.options().dtype(accumulation_dtype(x.scalar_type()));
  const Tensor out = at::empty(x.sizes(), x.options());
  const Tensor residual_out = at::empty(x.sizes(), acc);
  const Tensor rstd = at::empty(x.sizes().slice(0, x.dim() - 1), acc);
  launch(x, residual, weight, out, residual_out, rstd);
  return {out, residual_out, rstd};
}

template <typename scalar_t>
kernels::RmsNormFwdParams<scalar_t> forward_params(const Tensor& x, const Tensor& residual, const Tensor& weight,
                                                   double eps, const Tensor& out, const Tensor& residual_out,
                                                   const Tensor& rstd) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::RmsNormFwdParams<scalar_t> p;
  p.rows = rows_of(x);
  p.d_model = x.size(-1);
  p.eps = eps;
  p.x = pointer_of<scalar_t>(x);
  p.residual = pointer_of<acc_t>(residual);
  p.weight = pointer_of<acc_t>(weight);
  p.out = mutable_pointer_of<scalar_t>(out);
  p.residual_out = mutable_pointer_of<acc_t>(residual_out);
  p.rstd = mutable_pointer_of<acc_t>(rstd);
  return p;
}

std::tuple<Tensor, Tensor, Tensor> forward_cpu(const Tensor& x_in, const OptionalTensor& residual_in,
                                               const Tensor& weight_in, double eps) {
  return run_forward(x_in, residual_in, weight_in,
                     [&](const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& out,
                         const Tensor& residual_out, const Tensor& rstd) {
                       dispatch_cpu_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                         kernels::rms_norm_fwd_cpu(
                             forward_params<scalar_t>(x, residual, weight, eps, out, residual_out, rstd),
                             at_parallel_for);
                       });
                     });
}

#ifdef MPEFT_HAS_CUDA
std::tuple<Tensor, Tensor, Tensor> forward_cuda(const Tensor& x_in, const OptionalTensor& residual_in,
                                                const Tensor& weight_in, double eps) {
  const c10::cuda::CUDAGuard guard(x_in.device());
  return run_forward(x_in, residual_in, weight_in,
                     [&](const Tensor& x, const Tensor& residual, const Tensor& weight, const Tensor& out,
                         const Tensor& residual_out, const Tensor& rstd) {
                       if (x.numel() == 0) return;
                       dispatch_cuda_dtype(kOp, x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                         C10_CUDA_CHECK(kernels::launch_rms_norm_fwd(
                             forward_params<scalar_t>(x, residual, weight, eps, out, residual_out, rstd),
                             c10::cuda::getCurrentCUDAStream().stream()));
                       });
                     });
}
#endif

std::tuple<Tensor, Tensor, Tensor> forward_meta(const Tensor& x, const OptionalTensor&, const Tensor&, double) {
  const auto acc = x.options().dtype(accumulation_dtype(x.scalar_type()));
  return {at::empty_symint(x.sym_sizes(), x.options()), at::empty_symint(x.sym_sizes(), acc),
          at::empty_symint(x.sym_sizes().slice(0, x.dim() - 1), acc)};
}

// --- backward ---

template <typename Launch>
Gradients run_backward(const OptionalTensor& dout_in, const OptionalTensor& dresidual_out_in,
                       const Tensor& residual_out, const Tensor& weight_in, const Tensor& rstd, at::ScalarType x_dtype,
                       const Mask& mask, const Launch& launch) {
  const auto device = residual_out.device();
  const auto acc = accumulation_dtype(x_dtype);
  check_tensor(kOp, "residual_out", residual_out, residual_out.sizes(), acc, device);
  check_tensor(kOp, "weight", weight_in, {residual_out.size(-1)}, acc, device);
  check_tensor(kOp, "rstd", rstd, residual_out.sizes().slice(0, residual_out.dim() - 1), acc, device);
  const auto x_options = residual_out.options().dtype(x_dtype);
  Tensor dout = value_or_undefined(dout_in);
  if (!dout.defined()) dout = at::zeros(residual_out.sizes(), x_options);
  check_tensor(kOp, "the gradient of out", dout, residual_out.sizes(), x_dtype, device);
  Tensor dresidual_out = value_or_undefined(dresidual_out_in);
  if (dresidual_out.defined()) {
    check_tensor(kOp, "the gradient of residual_out", dresidual_out, residual_out.sizes(), acc, device);
    dresidual_out = dresidual_out.contiguous();
  }
  Tensor dx, dresidual, dweight;
  if (mask[kX]) dx = at::empty(residual_out.sizes(), x_options);
  if (mask[kResidual]) dresidual = at::empty(residual_out.sizes(), residual_out.options());
  if (mask[kWeight]) dweight = at::empty(weight_in.sizes(), weight_in.options());
  launch(dout.contiguous(), dresidual_out, residual_out.contiguous(), weight_in.contiguous(), rstd.contiguous(), dx,
         dresidual, dweight);
  return {dx, dresidual, dweight};
}

template <typename scalar_t>
kernels::RmsNormBwdParams<scalar_t> backward_params(const Tensor& dout, const Tensor& dresidual_out,
                                                    const Tensor& residual_out, const Tensor& weight,
                                                    const Tensor& rstd, const Tensor& dx, const Tensor& dresidual,
                                                    const Tensor& dweight) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::RmsNormBwdParams<scalar_t> p;
  p.rows = rows_of(residual_out);
  p.d_model = residual_out.size(-1);
  p.dout = pointer_of<scalar_t>(dout);
  p.dresidual_out = pointer_of<acc_t>(dresidual_out);
  p.residual_out = pointer_of<acc_t>(residual_out);
  p.weight = pointer_of<acc_t>(weight);
  p.rstd = pointer_of<acc_t>(rstd);
  p.dx = mutable_pointer_of<scalar_t>(dx);
  p.dresidual = mutable_pointer_of<acc_t>(dresidual);
  p.dweight = mutable_pointer_of<acc_t>(dweight);
  return p;
}

Gradients backward_cpu(const OptionalTensor& dout_in, const OptionalTensor& dresidual_out_in,
                       const Tensor& residual_out_in, const Tensor& weight_in, const Tensor& rstd_in,
                       at::ScalarType x_dtype, Mask mask) {
  return run_backward(dout_in, dresidual_out_in, residual_out_in, weight_in, rstd_in, x_dtype, mask,
                      [&](const auto&... tensors) {
                        dispatch_cpu_dtype(kOp, x_dtype, [&]<typename scalar_t>(std::type_identity<scalar_t>) {
                          kernels::rms_norm_bwd_cpu(backward_params<scalar_t>(tensors...), at_parallel_for);
                        });
                      });
}

#ifdef MPEFT_HAS_CUDA
Gradients backward_cuda(const OptionalTensor& dout_in, const OptionalTensor& dresidual_out_in,
                        const Tensor& residual_out_in, const Tensor& weight_in, const Tensor& rstd_in,
                        at::ScalarType x_dtype, Mask mask) {
  const c10::cuda::CUDAGuard guard(residual_out_in.device());
  return run_backward(
      dout_in, dresidual_out_in, residual_out_in, weight_in, rstd_in, x_dtype, mask,
      [&](const Tensor& dout, const Tensor& dresidual_out, const Tensor& residual_out, const Tensor& weight,
          const Tensor& rstd, const Tensor& dx, const Tensor& dresidual, const Tensor& dweight) {
        if (residual_out.numel() == 0) {
          if (dweight.defined()) dweight.zero_();
          return;
        }
        dispatch_cuda_dtype(kOp, x_dtype, [&]<typename scalar_t>(std::type_identity<scalar_t>) {
          const auto params =
              backward_params<scalar_t>(dout, dresidual_out, residual_out, weight, rstd, dx, dresidual, dweight);
          const Tensor workspace = cuda_workspace(kernels::rms_norm_bwd_workspace_bytes(params), residual_out);
          C10_CUDA_CHECK(kernels::launch_rms_norm_bwd(params, workspace.mutable_data_ptr(),
                                                      c10::cuda::getCurrentCUDAStream().stream()));
        });
      });
}
#endif

Gradients backward_meta(const OptionalTensor&, const OptionalTensor&, const Tensor& residual_out, const Tensor& weight,
                        const Tensor&, at::ScalarType x_dtype, Mask mask) {
  const auto sizes = residual_out.sym_sizes();
  return {mask[kX] ? at::empty_symint(sizes, residual_out.options().dtype(x_dtype)) : Tensor(),
          mask[kResidual] ? at::empty_symint(sizes, residual_out.options()) : Tensor(),
          mask[kWeight] ? at::empty_symint(weight.sym_sizes(), weight.options()) : Tensor()};
}

using ForwardSignature = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const OptionalTensor&, const Tensor&,
                                                            double);
using BackwardSignature = Gradients(const OptionalTensor&, const OptionalTensor&, const Tensor&, const Tensor&,
                                    const Tensor&, at::ScalarType, Mask);

auto forward_op() {
  static const auto op = find_op<ForwardSignature>("mpeft::rms_norm_forward");
  return op;
}

auto backward_op() {
  static const auto op = find_op<BackwardSignature>("mpeft::rms_norm_backward");
  return op;
}

// Computes, then makes its results refuse a second differentiation.
Gradients backward_autograd(const OptionalTensor& dout, const OptionalTensor& dresidual_out, const Tensor& residual_out,
                            const Tensor& weight, const Tensor& rstd, at::ScalarType x_dtype, Mask mask) {
  Gradients grads;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    grads = backward_op().call(dout, dresidual_out, residual_out, weight, rstd, x_dtype, mask);
  }
  forbid_double_backward(kOp, {value_or_undefined(dout), value_or_undefined(dresidual_out), residual_out, weight},
                         std::apply([](const auto&... g) { return std::vector<Tensor>{g...}; }, grads));
  return grads;
}

class RmsNormFunction : public torch::autograd::Function<RmsNormFunction> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const OptionalTensor& residual,
                               const Tensor& weight, double eps) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [out, residual_out, rstd] = forward_op().call(x, residual, weight, eps);
    ctx->save_for_backward({residual_out, weight, rstd});
    ctx->saved_data["edges"] = gradient_edges(x, residual, weight);
    ctx->saved_data["x_dtype"] = static_cast<int64_t>(x.scalar_type());
    ctx->set_materialize_grads(false);
    return {out, residual_out};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    const auto edges = ctx->saved_data["edges"].toIntVector();
    Mask mask{};
    for (size_t i = 0; i < kGradients; ++i) mask[i] = wants_gradient(*ctx, edges[i]);
    const auto optional = [](const Tensor& tensor) { return tensor.defined() ? OptionalTensor(tensor) : std::nullopt; };
    auto [dx, dresidual, dweight] =
        backward_op().call(optional(grad_outputs[0]), optional(grad_outputs[1]), saved[0], saved[1], saved[2],
                           static_cast<at::ScalarType>(ctx->saved_data["x_dtype"].toInt()), mask);
    return {dx, dresidual, dweight, Tensor()};
  }
};

std::tuple<Tensor, Tensor> norm_without_graph(const Tensor& x, const OptionalTensor& residual, const Tensor& weight,
                                              double eps) {
  auto [out, residual_out, rstd] = forward_op().call(x, residual, weight, eps);
  return {out, residual_out};
}

std::tuple<Tensor, Tensor> norm_autograd(const Tensor& x, const OptionalTensor& residual, const Tensor& weight,
                                         double eps) {
  if (!needs_graph(x, residual, weight)) {
    at::AutoDispatchBelowADInplaceOrView below;
    return norm_without_graph(x, residual, weight, eps);
  }
  auto outputs = RmsNormFunction::apply(x, residual, weight, eps);
  return {outputs[0], outputs[1]};
}

using NormSignature = std::tuple<Tensor, Tensor>(const Tensor&, const OptionalTensor&, const Tensor&, double);

}  // namespace

std::tuple<Tensor, Tensor> rms_norm(const Tensor& x, const OptionalTensor& residual, const Tensor& weight, double eps) {
  ensure_registered();
  static const auto op = find_op<NormSignature>("mpeft::rms_norm");
  return op.call(x, residual, weight, eps);
}

void register_rms_norm(torch::Library& library) {
  const std::string inputs = "Tensor x, Tensor? residual, Tensor weight, float eps";
  library.def(torch::schema(("rms_norm(" + inputs + ") -> (Tensor out, Tensor residual_out)").c_str()));
  library.def(
      torch::schema(("rms_norm_forward(" + inputs + ") -> (Tensor out, Tensor residual_out, Tensor rstd)").c_str()));
  library.def(
      "rms_norm_backward(Tensor? dout, Tensor? dresidual_out, Tensor residual_out, Tensor weight, Tensor rstd, "
      "ScalarType x_dtype, bool[3] output_mask) -> (Tensor dx, Tensor dresidual, Tensor dweight)");

  library.impl("rms_norm", c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(norm_without_graph));
  library.impl("rms_norm", c10::DispatchKey::Autograd, TORCH_FN(norm_autograd));
  library.impl("rms_norm_forward", c10::DispatchKey::CPU, TORCH_FN(forward_cpu));
  library.impl("rms_norm_forward", c10::DispatchKey::Meta, TORCH_FN(forward_meta));
  library.impl("rms_norm_backward", c10::DispatchKey::CPU, TORCH_FN(backward_cpu));
  library.impl("rms_norm_backward", c10::DispatchKey::Meta, TORCH_FN(backward_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("rms_norm_forward", c10::DispatchKey::CUDA, TORCH_FN(forward_cuda));
  library.impl("rms_norm_backward", c10::DispatchKey::CUDA, TORCH_FN(backward_cuda));
#endif
  library.impl("rms_norm_backward", c10::DispatchKey::Autograd, TORCH_FN(backward_autograd));
}

}  // namespace mpeft::ops
