#include "kernels/decode_step/decode_step.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "kernels/causal_conv1d/causal_conv1d.h"
#include "kernels/glue/autograd.h"
#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/registration.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/selective_scan/selective_scan.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/decode_step/decode_step_launch.h"
#include "kernels/glue/cuda.h"
#endif

namespace mpeft::ops {

void register_decode_step(torch::Library& library);

namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr const char* kOp = "decode_step";

template <typename... Tensors>
void check_inference(const Tensors&... tensors) {
  TORCH_CHECK(!needs_graph(tensors...), kOp,
              ": has no gradient; call it under no_grad(), or use the operators for whole sequences");
}

void check_linear(const Tensor& x, const Tensor& weight) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2, kOp, ": x and weight must be matrices, got ", x.sizes(), " and ",
              weight.sizes());
  check_compute_dtype(kOp, "x", x);
  check_tensor(kOp, "weight", weight, {weight.size(0), x.size(1)}, x.scalar_type(), x.device());
}

/// The state before and after the step, and who continues whom.
void check_states(const char* name, const Tensor& state, const Tensor& state_out, const OptionalTensor& parents,
                  int64_t rows, at::IntArrayRef row_shape, at::ScalarType dtype, at::Device device) {
  const int64_t state_rows = is_defined(parents) && state.dim() > 0 ? state.size(0) : rows;
  check_tensor(kOp, name, state, {state_rows, row_shape[0], row_shape[1]}, dtype, device);
  check_tensor(kOp, "the state after the step", state_out, {rows, row_shape[0], row_shape[1]}, dtype, device);
  TORCH_CHECK(state.is_contiguous() && state_out.is_contiguous(), kOp, ": states must be contiguous");
  if (!is_defined(parents)) return;
  check_tensor(kOp, "parents", *parents, {rows}, at::kLong, device);
  TORCH_CHECK(parents->is_contiguous(), kOp, ": parents must be contiguous");
  TORCH_CHECK(!state.is_alias_of(state_out), kOp,
              ": with parents the state after the step needs memory of its own: a row may have several successors");
}

void check_conv(const Tensor& x, int64_t d_inner, const Tensor& weight, const OptionalTensor& bias, const Tensor& state,
                const Tensor& state_out, const OptionalTensor& parents) {
  const auto acc = accumulation_dtype(x.scalar_type());
  TORCH_CHECK(weight.dim() == 2 && weight.size(1) >= 2, kOp, ": conv_weight must be (d_inner, width >= 2), got ",
              weight.sizes());
  check_tensor(kOp, "conv_weight", weight, {d_inner, weight.size(1)}, acc, x.device());
  if (is_defined(bias)) check_tensor(kOp, "conv_bias", *bias, {d_inner}, acc, x.device());
  check_states("conv_state", state, state_out, parents, x.size(0), {weight.size(1) - 1, d_inner}, x.scalar_type(),
               x.device());
}

Tensor rows_of(const Tensor& state, const OptionalTensor& parents) {
  return is_defined(parents) ? at::index_select(state, 0, *parents) : state;
}

// --- one step of the operators for whole sequences ---

Tensor conv_of_one_step(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const Tensor& state,
                        Tensor& state_out, const OptionalTensor& parents) {
  const at::AutoDispatchBelowADInplaceOrView below;
  auto [u, last] = causal_conv1d(x.unsqueeze(1), weight, bias, rows_of(state, parents), {}, /*silu=*/true);
  state_out.copy_(last);
  return u.squeeze(1);
}

Tensor scan_of_one_step(const Tensor& u, const Tensor& z, const Tensor& x_dbl, const OptionalTensor& dt_weight,
                        const OptionalTensor& delta, const Tensor& dt_bias, const Tensor& A, const Tensor& D,
                        const Tensor& state, Tensor& state_out, const OptionalTensor& parents) {
  const at::AutoDispatchBelowADInplaceOrView below;
  const int64_t d_state = A.size(1), dt_rank = x_dbl.size(1) - 2 * d_state;
  SelectiveScanArgs scan;
  scan.u = u.unsqueeze(1);
  scan.delta = (is_defined(dt_weight) ? at::linear(x_dbl.narrow(1, 0, dt_rank), *dt_weight) : *delta).unsqueeze(1);
  scan.A = A;
  scan.B = x_dbl.narrow(1, dt_rank, d_state).unsqueeze(1);
  scan.C = x_dbl.narrow(1, dt_rank + d_state, d_state).unsqueeze(1);
  scan.D = D;
  scan.z = z.unsqueeze(1);
  scan.delta_bias = dt_bias;
  scan.initial_state = rows_of(state, parents);
  auto [y, last] = selective_scan(scan);
  state_out.copy_(last);
  return y.squeeze(1);
}

// --- the kernels ---

#ifdef MPEFT_HAS_CUDA
bool has_kernels(const Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf);
}

template <typename Body>
void dispatch_decode_dtype(at::ScalarType dtype, const Body& body) {
  if (dtype == at::kBFloat16) return body(std::type_identity<__nv_bfloat16>{});
  body(std::type_identity<__half>{});
}

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

template <typename scalar_t>
kernels::DecodeLinearParams<scalar_t> linear_params(const Tensor& x, const Tensor& weight) {
  kernels::DecodeLinearParams<scalar_t> p;
  p.rows = x.size(0);
  p.in_features = x.size(1);
  p.out_features = weight.size(0);
  p.x = pointer_of<scalar_t>(x);
  p.weight = pointer_of<scalar_t>(weight);
  return p;
}

template <typename scalar_t>
kernels::DecodeConvParams<scalar_t> conv_params(const Tensor& weight, const OptionalTensor& bias, const Tensor& state,
                                                const Tensor& state_out, const OptionalTensor& parents,
                                                const Tensor& u) {
  kernels::DecodeConvParams<scalar_t> p;
  p.rows = u.size(0);
  p.d_inner = u.size(1);
  p.width = weight.size(1);
  p.weight = pointer_of<float>(weight);
  p.bias = pointer_of<float>(value_or_undefined(bias));
  p.state = pointer_of<scalar_t>(state);
  p.state_out = mutable_pointer_of<scalar_t>(state_out);
  p.parents = pointer_of<int64_t>(value_or_undefined(parents));
  p.u = mutable_pointer_of<scalar_t>(u);
  return p;
}

constexpr int64_t kMaxConvWidth = 4;
#endif

// --- operators ---

std::tuple<Tensor, Tensor> norm_op(const Tensor& x_in, const OptionalTensor& residual_in, const Tensor& weight_in,
                                   double eps) {
  check_inference(x_in, residual_in, weight_in);
#ifdef MPEFT_HAS_CUDA
  if (has_kernels(x_in) && x_in.dim() == 2) {
    check_tensor(kOp, "weight", weight_in, {x_in.size(1)}, at::kFloat, x_in.device());
    if (is_defined(residual_in)) check_tensor(kOp, "residual", *residual_in, x_in.sizes(), at::kFloat, x_in.device());
    const c10::cuda::CUDAGuard guard(x_in.device());
    const Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    const Tensor residual = is_defined(residual_in) ? residual_in->contiguous() : Tensor();
    const Tensor out = at::empty_like(x), residual_out = at::empty(x.sizes(), weight.options());
    bool done = false;
    dispatch_decode_dtype(x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      kernels::RmsNormFwdParams<scalar_t> p;
      p.rows = x.size(0), p.d_model = x.size(1), p.eps = eps;
      p.x = pointer_of<scalar_t>(x);
      p.residual = pointer_of<float>(residual);
      p.weight = pointer_of<float>(weight);
      p.out = mutable_pointer_of<scalar_t>(out);
      p.residual_out = mutable_pointer_of<float>(residual_out);
      if (!kernels::decode_norm_fits(p)) return;
      C10_CUDA_CHECK(kernels::launch_decode_norm(p, stream()));
      done = true;
    });
    if (done) return {out, residual_out};
  }
#endif
  const at::AutoDispatchBelowADInplaceOrView below;
  return rms_norm(x_in, residual_in, weight_in, eps);
}

Tensor linear_op(const Tensor& x_in, const Tensor& weight_in) {
  check_inference(x_in, weight_in);
  check_linear(x_in, weight_in);
#ifdef MPEFT_HAS_CUDA
  if (has_kernels(x_in) && x_in.size(0) > 0) {
    const c10::cuda::CUDAGuard guard(x_in.device());
    const Tensor x = x_in.contiguous(), weight = weight_in.contiguous();
    Tensor y;
    dispatch_decode_dtype(x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      auto p = linear_params<scalar_t>(x, weight);
      if (!kernels::decode_linear_fits(p)) return;
      y = at::empty({p.rows, p.out_features}, x.options());
      p.y = mutable_pointer_of<scalar_t>(y);
      C10_CUDA_CHECK(kernels::launch_decode_linear(p, stream()));
    });
    if (y.defined()) return y;
  }
#endif
  return at::linear(x_in, weight_in);
}

Tensor conv_op(const Tensor& x_in, const Tensor& weight_in, const OptionalTensor& bias, const Tensor& state,
               Tensor& state_out, const OptionalTensor& parents) {
  check_inference(x_in, weight_in);
  TORCH_CHECK(x_in.dim() == 2, kOp, ": x must be (rows, d_inner), got ", x_in.sizes());
  check_compute_dtype(kOp, "x", x_in);
  check_conv(x_in, x_in.size(1), weight_in, bias, state, state_out, parents);
#ifdef MPEFT_HAS_CUDA
  if (has_kernels(x_in) && weight_in.size(1) <= kMaxConvWidth) {
    const c10::cuda::CUDAGuard guard(x_in.device());
    const Tensor x = with_contiguous_last_axis(x_in), weight = weight_in.contiguous();
    const Tensor u = at::empty(x.sizes(), x.options());
    dispatch_decode_dtype(x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      auto p = conv_params<scalar_t>(weight, bias, state, state_out, parents, u);
      p.x = pointer_of<scalar_t>(x);
      p.x_row_stride = x.stride(0);
      C10_CUDA_CHECK(kernels::launch_decode_conv(p, stream()));
    });
    return u;
  }
#endif
  return conv_of_one_step(x_in, weight_in, bias, state, state_out, parents);
}

std::tuple<Tensor, Tensor> in_proj_conv_op(const Tensor& x_in, const Tensor& weight_in, const Tensor& conv_weight_in,
                                           const OptionalTensor& conv_bias, const Tensor& conv_state,
                                           Tensor& conv_state_out, const OptionalTensor& parents) {
  check_inference(x_in, weight_in, conv_weight_in);
  check_linear(x_in, weight_in);
  TORCH_CHECK(weight_in.size(0) % 2 == 0, kOp, ": in_proj must have 2 d_inner rows, got ", weight_in.size(0));
  const int64_t d_inner = weight_in.size(0) / 2;
  check_conv(x_in, d_inner, conv_weight_in, conv_bias, conv_state, conv_state_out, parents);
#ifdef MPEFT_HAS_CUDA
  if (has_kernels(x_in) && x_in.size(0) > 0) {
    const c10::cuda::CUDAGuard guard(x_in.device());
    const Tensor x = x_in.contiguous(), weight = weight_in.contiguous(), conv_weight = conv_weight_in.contiguous();
    Tensor u, z;
    dispatch_decode_dtype(x.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      const auto p = linear_params<scalar_t>(x, weight);
      const Tensor made_u = at::empty({p.rows, d_inner}, x.options());
      const auto conv = conv_params<scalar_t>(conv_weight, conv_bias, conv_state, conv_state_out, parents, made_u);
      if (!kernels::decode_in_proj_conv_fits(p, conv)) return;
      u = made_u;
      z = at::empty_like(u);
      C10_CUDA_CHECK(kernels::launch_decode_in_proj_conv(p, conv, mutable_pointer_of<scalar_t>(z), stream()));
    });
    if (u.defined()) return {u, z};
  }
#endif
  const Tensor xz = at::linear(x_in, weight_in);
  const Tensor u = conv_op(xz.narrow(1, 0, d_inner), conv_weight_in, conv_bias, conv_state, conv_state_out, parents);
  return {u, xz.narrow(1, d_inner, d_inner)};
}

Tensor scan_op(const Tensor& u_in, const Tensor& z_in, const Tensor& x_dbl_in, const OptionalTensor& dt_weight_in,
               const OptionalTensor& delta_in, const Tensor& dt_bias, const Tensor& A_in, const Tensor& D,
               const Tensor& state, Tensor& state_out, const OptionalTensor& parents) {
  check_inference(u_in, z_in, x_dbl_in, A_in, D, dt_bias);
  TORCH_CHECK(u_in.dim() == 2 && A_in.dim() == 2 && x_dbl_in.dim() == 2, kOp, ": u, x_dbl and A must be matrices, got ",
              u_in.sizes(), ", ", x_dbl_in.sizes(), " and ", A_in.sizes());
  check_compute_dtype(kOp, "u", u_in);
  const auto dtype = u_in.scalar_type(), acc = accumulation_dtype(dtype);
  const auto device = u_in.device();
  const int64_t rows = u_in.size(0), d_inner = u_in.size(1), d_state = A_in.size(1);
  const int64_t dt_rank = x_dbl_in.size(1) - 2 * d_state;
  TORCH_CHECK(dt_rank >= 1, kOp, ": x_dbl must have dt_rank + 2 d_state columns, got ", x_dbl_in.size(1),
              " with d_state ", d_state);
  check_tensor(kOp, "z", z_in, {rows, d_inner}, dtype, device);
  check_tensor(kOp, "x_dbl", x_dbl_in, {rows, x_dbl_in.size(1)}, dtype, device);
  TORCH_CHECK(is_defined(dt_weight_in) != is_defined(delta_in), kOp, ": either dt_weight or delta must be given");
  if (is_defined(dt_weight_in)) check_tensor(kOp, "dt_weight", *dt_weight_in, {d_inner, dt_rank}, dtype, device);
  if (is_defined(delta_in)) check_tensor(kOp, "delta", *delta_in, {rows, d_inner}, dtype, device);
  check_tensor(kOp, "dt_bias", dt_bias, {d_inner}, acc, device);
  check_tensor(kOp, "A", A_in, {d_inner, d_state}, acc, device);
  check_tensor(kOp, "D", D, {d_inner}, acc, device);
  check_states("scan_state", state, state_out, parents, rows, {d_inner, d_state}, acc, device);
#ifdef MPEFT_HAS_CUDA
  if (has_kernels(u_in)) {
    const c10::cuda::CUDAGuard guard(device);
    const Tensor u = u_in.contiguous(), z = with_contiguous_last_axis(z_in), x_dbl = x_dbl_in.contiguous();
    const Tensor A = A_in.contiguous(), y = at::empty({rows, d_inner}, u.options());
    const Tensor dt_weight = is_defined(dt_weight_in) ? dt_weight_in->contiguous() : Tensor();
    const Tensor delta = is_defined(delta_in) ? delta_in->contiguous() : Tensor();
    dispatch_decode_dtype(dtype, [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      kernels::DecodeScanParams<scalar_t> p;
      p.rows = rows, p.d_inner = d_inner, p.d_state = d_state, p.dt_rank = dt_rank;
      p.state_rows = state.size(0);
      p.u = pointer_of<scalar_t>(u);
      p.z = pointer_of<scalar_t>(z);
      p.z_row_stride = z.stride(0);
      p.x_dbl = pointer_of<scalar_t>(x_dbl);
      p.dt_weight = pointer_of<scalar_t>(dt_weight);
      p.delta = pointer_of<scalar_t>(delta);
      p.dt_bias = pointer_of<float>(dt_bias);
      p.A = pointer_of<float>(A);
      p.D = pointer_of<float>(D);
      p.state = pointer_of<float>(state);
      p.state_out = mutable_pointer_of<float>(state_out);
      p.parents = pointer_of<int64_t>(value_or_undefined(parents));
      p.y = mutable_pointer_of<scalar_t>(y);
      C10_CUDA_CHECK(kernels::launch_decode_scan(p, stream()));
    });
    return y;
  }
#endif
  return scan_of_one_step(u_in, z_in, x_dbl_in, dt_weight_in, delta_in, dt_bias, A_in, D, state, state_out, parents);
}

// --- without data ---

std::tuple<Tensor, Tensor> norm_meta(const Tensor& x, const OptionalTensor&, const Tensor& weight, double) {
  return {at::empty_symint(x.sym_sizes(), x.options()), at::empty_symint(x.sym_sizes(), weight.options())};
}

Tensor linear_meta(const Tensor& x, const Tensor& weight) {
  return at::empty_symint({x.sym_size(0), weight.sym_size(0)}, x.options());
}

Tensor conv_meta(const Tensor& x, const Tensor&, const OptionalTensor&, const Tensor&, Tensor&, const OptionalTensor&) {
  return at::empty_symint(x.sym_sizes(), x.options());
}

std::tuple<Tensor, Tensor> in_proj_conv_meta(const Tensor& x, const Tensor&, const Tensor& conv_weight,
                                             const OptionalTensor&, const Tensor&, Tensor&, const OptionalTensor&) {
  const Tensor u = at::empty_symint({x.sym_size(0), conv_weight.sym_size(0)}, x.options());
  return {u, at::empty_like(u)};
}

Tensor scan_meta(const Tensor& u, const Tensor&, const Tensor&, const OptionalTensor&, const OptionalTensor&,
                 const Tensor&, const Tensor&, const Tensor&, const Tensor&, Tensor&, const OptionalTensor&) {
  return at::empty_symint(u.sym_sizes(), u.options());
}

}  // namespace

std::tuple<Tensor, Tensor> decode_norm(const Tensor& x, const OptionalTensor& residual, const Tensor& weight,
                                       double eps) {
  ensure_registered();
  static const auto op = find_op<decltype(norm_op)>("mpeft::decode_norm");
  return op.call(x, residual, weight, eps);
}

Tensor decode_linear(const Tensor& x, const Tensor& weight) {
  ensure_registered();
  static const auto op = find_op<decltype(linear_op)>("mpeft::decode_linear");
  return op.call(x, weight);
}

std::tuple<Tensor, Tensor> decode_in_proj_conv(const Tensor& x, const Tensor& weight, const Tensor& conv_weight,
                                               const OptionalTensor& conv_bias, const Tensor& conv_state,
                                               Tensor& conv_state_out, const OptionalTensor& parents) {
  ensure_registered();
  static const auto op = find_op<decltype(in_proj_conv_op)>("mpeft::decode_in_proj_conv");
  return op.call(x, weight, conv_weight, conv_bias, conv_state, conv_state_out, parents);
}

Tensor decode_conv(const Tensor& x, const Tensor& conv_weight, const OptionalTensor& conv_bias,
                   const Tensor& conv_state, Tensor& conv_state_out, const OptionalTensor& parents) {
  ensure_registered();
  static const auto op = find_op<decltype(conv_op)>("mpeft::decode_conv");
  return op.call(x, conv_weight, conv_bias, conv_state, conv_state_out, parents);
}

Tensor decode_scan(const Tensor& u, const Tensor& z, const Tensor& x_dbl, const OptionalTensor& dt_weight,
                   const OptionalTensor& delta, const Tensor& dt_bias, const Tensor& A, const Tensor& D,
                   const Tensor& scan_state, Tensor& scan_state_out, const OptionalTensor& parents) {
  ensure_registered();
  static const auto op = find_op<decltype(scan_op)>("mpeft::decode_scan");
  return op.call(u, z, x_dbl, dt_weight, delta, dt_bias, A, D, scan_state, scan_state_out, parents);
}

void register_decode_step(torch::Library& library) {
  library.def("decode_norm(Tensor x, Tensor? residual, Tensor weight, float eps) -> (Tensor out, Tensor residual_out)");
  library.def("decode_linear(Tensor x, Tensor weight) -> Tensor y");
  library.def(
      "decode_in_proj_conv(Tensor x, Tensor weight, Tensor conv_weight, Tensor? conv_bias, Tensor conv_state, "
      "Tensor(a!) conv_state_out, Tensor? parents) -> (Tensor u, Tensor z)");
  library.def(
      "decode_conv(Tensor x, Tensor conv_weight, Tensor? conv_bias, Tensor conv_state, Tensor(a!) conv_state_out, "
      "Tensor? parents) -> Tensor u");
  library.def(
      "decode_scan(Tensor u, Tensor z, Tensor x_dbl, Tensor? dt_weight, Tensor? delta, Tensor dt_bias, Tensor A, "
      "Tensor D, Tensor scan_state, Tensor(a!) scan_state_out, Tensor? parents) -> Tensor y");
  std::vector<c10::DispatchKey> keys{c10::DispatchKey::CPU};
#ifdef MPEFT_HAS_CUDA
  keys.push_back(c10::DispatchKey::CUDA);
#endif
  for (const auto key : keys) {
    library.impl("decode_norm", key, TORCH_FN(norm_op));
    library.impl("decode_linear", key, TORCH_FN(linear_op));
    library.impl("decode_in_proj_conv", key, TORCH_FN(in_proj_conv_op));
    library.impl("decode_conv", key, TORCH_FN(conv_op));
    library.impl("decode_scan", key, TORCH_FN(scan_op));
  }
  library.impl("decode_norm", c10::DispatchKey::Meta, TORCH_FN(norm_meta));
  library.impl("decode_linear", c10::DispatchKey::Meta, TORCH_FN(linear_meta));
  library.impl("decode_in_proj_conv", c10::DispatchKey::Meta, TORCH_FN(in_proj_conv_meta));
  library.impl("decode_conv", c10::DispatchKey::Meta, TORCH_FN(conv_meta));
  library.impl("decode_scan", c10::DispatchKey::Meta, TORCH_FN(scan_meta));
}

}  // namespace mpeft::ops
