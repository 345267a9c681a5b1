#include "kernels/cross_entropy/cross_entropy.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "kernels/cross_entropy/cpu.h"
#include "kernels/glue/autograd.h"
#include "kernels/glue/checks.h"
#include "kernels/glue/dispatch.h"
#include "kernels/registration.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/glue/cuda.h"
#endif

namespace mpeft::ops {

void register_cross_entropy(torch::Library& library);

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char* kOp = "cross_entropy";

// --- checks and parameters ---

void check_inputs(const Tensor& logits, const Tensor& labels, int64_t n_valid) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) > 0, kOp, ": logits must be (rows, columns), got ", logits.sizes());
  check_compute_dtype(kOp, "logits", logits);
  check_tensor(kOp, "labels", labels, {logits.size(0)}, at::kLong, logits.device());
  TORCH_CHECK(n_valid >= 0 && n_valid <= logits.size(1), kOp, ": n_valid must be 0 (all) to ", logits.size(1), ", got ",
              n_valid);
}

/// On the CPU a look at the labels costs nothing; on a GPU it would wait for the device.
void check_labels_on_cpu(const Tensor& labels, int64_t ignore_index, int64_t n_valid) {
  const int64_t* const label = labels.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < labels.size(0); ++row) {
    TORCH_CHECK_INDEX(label[row] == ignore_index || (label[row] >= 0 && label[row] < n_valid), kOp, ": labels[", row,
                      "] is ", label[row], ", expected a column in [0, ", n_valid, ") or ", ignore_index);
  }
}

template <typename scalar_t, typename Params>
void fill_inputs(Params& p, const Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid) {
  p.rows = logits.size(0);
  p.columns = logits.size(1);
  p.n_valid = n_valid > 0 ? n_valid : p.columns;
  p.ignore_index = ignore_index;
  p.logits = pointer_of<scalar_t>(logits);
  p.row_stride = logits.stride(0);
  p.labels = pointer_of<int64_t>(labels);
}

// --- forward ---

/// What a forward leaves; undefined tensors are not wanted.
struct Results {
  Tensor losses, normaliser, predicted, dlogits;
  double gradient_scale = 1;
};

template <typename scalar_t>
kernels::CrossEntropyFwdParams<scalar_t> forward_params(const Tensor& logits, const Tensor& labels,
                                                        int64_t ignore_index, int64_t n_valid, const Results& to) {
  using acc_t = kernels::acc_type_t<scalar_t>;
  kernels::CrossEntropyFwdParams<scalar_t> p;
  fill_inputs<scalar_t>(p, logits, labels, ignore_index, n_valid);
  p.losses = mutable_pointer_of<acc_t>(to.losses);
  p.normaliser = mutable_pointer_of<acc_t>(to.normaliser);
  p.predicted = mutable_pointer_of<int64_t>(to.predicted);
  p.dlogits = mutable_pointer_of<scalar_t>(to.dlogits);
  p.gradient_scale = to.gradient_scale;
  return p;
}

/// logits: last axis contiguous; labels contiguous.
void launch_forward(const Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid,
                    const Results& to) {
  if (logits.size(0) == 0) return;
  if (logits.is_cpu()) {
    check_labels_on_cpu(labels, ignore_index, n_valid > 0 ? n_valid : logits.size(1));
    dispatch_cpu_dtype(kOp, logits.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
      kernels::cross_entropy_fwd_cpu(forward_params<scalar_t>(logits, labels, ignore_index, n_valid, to),
                                     at_parallel_for);
    });
    return;
  }
#ifdef MPEFT_HAS_CUDA
  const c10::cuda::CUDAGuard guard(logits.device());
  dispatch_cuda_dtype(kOp, logits.scalar_type(), [&]<typename scalar_t>(std::type_identity<scalar_t>) {
    C10_CUDA_CHECK(
        kernels::launch_cross_entropy_fwd(forward_params<scalar_t>(logits, labels, ignore_index, n_valid, to),
                                          c10::cuda::getCurrentCUDAStream().stream()));
  });
#endif
}

at::TensorOptions loss_options(const Tensor& logits) {
  return logits.options().dtype(accumulation_dtype(logits.scalar_type()));
}

std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& logits_in, const Tensor& labels_in, int64_t ignore_index,
                                           int64_t n_valid, bool predict) {
  check_inputs(logits_in, labels_in, n_valid);
  const Tensor logits = with_contiguous_last_axis(logits_in), labels = labels_in.contiguous();
  Results to;
  to.losses = at::empty({logits.size(0)}, loss_options(logits));
  to.normaliser = at::empty({logits.size(0), 2}, to.losses.options());
  to.predicted = at::empty({predict ? logits.size(0) : 0}, labels.options());
  Results wanted = to;
  if (!predict) wanted.predicted = Tensor();
  launch_forward(logits, labels, ignore_index, n_valid, wanted);
  return {to.losses, to.normaliser, to.predicted};
}

std::tuple<Tensor, Tensor, Tensor> forward_meta(const Tensor& logits, const Tensor& labels, int64_t, int64_t,
                                                bool predict) {
  const Tensor losses = at::empty_symint({logits.sym_size(0)}, loss_options(logits));
  const auto n_predicted = predict ? logits.sym_size(0) : c10::SymInt(0);
  return {losses, at::empty_symint({logits.sym_size(0), 2}, losses.options()),
          at::empty_symint({n_predicted}, labels.options())};
}

Tensor take_gradient(Tensor& logits, const Tensor& labels_in, int64_t ignore_index, int64_t n_valid,
                     double gradient_scale) {
  check_inputs(logits, labels_in, n_valid);
  TORCH_CHECK(logits.size(1) <= 1 || logits.stride(1) == 1, kOp,
              ": logits that are to be overwritten must have contiguous rows, got strides ", logits.strides());
  Results to;
  to.losses = at::empty({logits.size(0)}, loss_options(logits));
  to.dlogits = logits;
  to.gradient_scale = gradient_scale;
  launch_forward(logits, labels_in.contiguous(), ignore_index, n_valid, to);
  return to.losses;
}

Tensor take_gradient_meta(Tensor& logits, const Tensor&, int64_t, int64_t, double) {
  return at::empty_symint({logits.sym_size(0)}, loss_options(logits));
}

// --- backward ---

Tensor backward(const Tensor& dlosses_in, const Tensor& logits_in, const Tensor& labels_in, const Tensor& normaliser_in,
                int64_t ignore_index, int64_t n_valid) {
  check_inputs(logits_in, labels_in, n_valid);
  const auto acc = accumulation_dtype(logits_in.scalar_type());
  check_tensor(kOp, "the gradient of the losses", dlosses_in, {logits_in.size(0)}, acc, logits_in.device());
  check_tensor(kOp, "normaliser", normaliser_in, {logits_in.size(0), 2}, acc, logits_in.device());
  const Tensor logits = with_contiguous_last_axis(logits_in), labels = labels_in.contiguous();
  const Tensor dlosses = dlosses_in.contiguous(), normaliser = normaliser_in.contiguous();
  const Tensor dlogits = at::empty(logits.sizes(), logits.options());
  if (logits.size(0) == 0) return dlogits;

  const auto params = [&]<typename scalar_t>(std::type_identity<scalar_t>) {
    using acc_t = kernels::acc_type_t<scalar_t>;
    kernels::CrossEntropyBwdParams<scalar_t> p;
    fill_inputs<scalar_t>(p, logits, labels, ignore_index, n_valid);
    p.normaliser = pointer_of<acc_t>(normaliser);
    p.dlosses = pointer_of<acc_t>(dlosses);
    p.dlogits = mutable_pointer_of<scalar_t>(dlogits);
    return p;
  };
  if (logits.is_cpu()) {
    dispatch_cpu_dtype(kOp, logits.scalar_type(),
                       [&](auto type) { kernels::cross_entropy_bwd_cpu(params(type), at_parallel_for); });
    return dlogits;
  }
#ifdef MPEFT_HAS_CUDA
  const c10::cuda::CUDAGuard guard(logits.device());
  dispatch_cuda_dtype(kOp, logits.scalar_type(), [&](auto type) {
    C10_CUDA_CHECK(kernels::launch_cross_entropy_bwd(params(type), c10::cuda::getCurrentCUDAStream().stream()));
  });
#endif
  return dlogits;
}

Tensor backward_meta(const Tensor&, const Tensor& logits, const Tensor&, const Tensor&, int64_t, int64_t) {
  return at::empty_symint(logits.sym_sizes(), logits.options());
}

// --- autograd ---

using ForwardSignature = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, int64_t, int64_t, bool);
using BackwardSignature = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, int64_t, int64_t);
using LossSignature = Tensor(const Tensor&, const Tensor&, int64_t, int64_t);
using TakeGradientSignature = Tensor(Tensor&, const Tensor&, int64_t, int64_t, double);

auto forward_op() {
  static const auto op = find_op<ForwardSignature>("mpeft::cross_entropy_forward");
  return op;
}

auto backward_op() {
  static const auto op = find_op<BackwardSignature>("mpeft::cross_entropy_backward");
  return op;
}

auto take_gradient_op() {
  static const auto op = find_op<TakeGradientSignature>("mpeft::cross_entropy_take_gradient_");
  return op;
}

Tensor backward_autograd(const Tensor& dlosses, const Tensor& logits, const Tensor& labels, const Tensor& normaliser,
                         int64_t ignore_index, int64_t n_valid) {
  Tensor dlogits;
  {
    at::AutoDispatchBelowADInplaceOrView below;
    dlogits = backward_op().call(dlosses, logits, labels, normaliser, ignore_index, n_valid);
  }
  forbid_double_backward(kOp, {dlosses, logits}, {dlogits});
  return dlogits;
}

/// Overwritten memory must not be part of a graph, and whoever saved it must notice.
Tensor take_gradient_autograd(Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid,
                              double gradient_scale) {
  TORCH_CHECK(
      !needs_graph(logits), kOp,
      ": logits that require a gradient cannot be overwritten by it; detach them, or call mpeft::cross_entropy");
  at::AutoDispatchBelowADInplaceOrView below;
  const Tensor losses = take_gradient_op().call(logits, labels, ignore_index, n_valid, gradient_scale);
  if (!logits.is_inference()) logits.unsafeGetTensorImpl()->bump_version();
  return losses;
}

class CrossEntropyFunction : public torch::autograd::Function<CrossEntropyFunction> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& logits, const Tensor& labels, int64_t ignore_index,
                        int64_t n_valid) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [losses, normaliser, predicted] = forward_op().call(logits, labels, ignore_index, n_valid, false);
    ctx->save_for_backward({logits, labels, normaliser});
    ctx->saved_data["ignore_index"] = ignore_index;
    ctx->saved_data["n_valid"] = n_valid;
    return losses;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad_outputs) {
    const auto saved = ctx->get_saved_variables();
    return {backward_op().call(grad_outputs[0], saved[0], saved[1], saved[2], ctx->saved_data["ignore_index"].toInt(),
                               ctx->saved_data["n_valid"].toInt()),
            Tensor(), Tensor(), Tensor()};
  }
};

Tensor loss_without_graph(const Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid) {
  return std::get<0>(forward_op().call(logits, labels, ignore_index, n_valid, false));
}

Tensor loss_autograd(const Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid) {
  if (needs_graph(logits)) return CrossEntropyFunction::apply(logits, labels, ignore_index, n_valid);
  at::AutoDispatchBelowADInplaceOrView below;
  return loss_without_graph(logits, labels, ignore_index, n_valid);
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& labels, int64_t ignore_index, int64_t n_valid) {
  ensure_registered();
  static const auto op = find_op<LossSignature>("mpeft::cross_entropy");
  return op.call(logits, labels, ignore_index, n_valid);
}

std::tuple<Tensor, Tensor> cross_entropy_and_prediction(const Tensor& logits, const Tensor& labels,
                                                        int64_t ignore_index, int64_t n_valid) {
  ensure_registered();
  const at::AutoDispatchBelowADInplaceOrView below;
  auto [losses, normaliser, predicted] = forward_op().call(logits, labels, ignore_index, n_valid, true);
  return {losses, predicted};
}

Tensor cross_entropy_take_gradient_(Tensor& logits, const Tensor& labels, double gradient_scale, int64_t ignore_index,
                                    int64_t n_valid) {
  ensure_registered();
  return take_gradient_op().call(logits, labels, ignore_index, n_valid, gradient_scale);
}

void register_cross_entropy(torch::Library& library) {
  library.def("cross_entropy(Tensor logits, Tensor labels, int ignore_index=-100, int n_valid=0) -> Tensor losses");
  library.def(
      "cross_entropy_forward(Tensor logits, Tensor labels, int ignore_index, int n_valid, bool predict) -> "
      "(Tensor losses, Tensor normaliser, Tensor predicted)");
  library.def(
      "cross_entropy_backward(Tensor dlosses, Tensor logits, Tensor labels, Tensor normaliser, int ignore_index, "
      "int n_valid) -> Tensor dlogits");
  library.def(
      "cross_entropy_take_gradient_(Tensor(a!) logits, Tensor labels, int ignore_index=-100, int n_valid=0, "
      "float gradient_scale=1.0) -> Tensor losses");

  library.impl("cross_entropy", c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(loss_without_graph));
  library.impl("cross_entropy", c10::DispatchKey::Autograd, TORCH_FN(loss_autograd));
  library.impl("cross_entropy_forward", c10::DispatchKey::CPU, TORCH_FN(forward));
  library.impl("cross_entropy_forward", c10::DispatchKey::Meta, TORCH_FN(forward_meta));
  library.impl("cross_entropy_backward", c10::DispatchKey::CPU, TORCH_FN(backward));
  library.impl("cross_entropy_backward", c10::DispatchKey::Meta, TORCH_FN(backward_meta));
  library.impl("cross_entropy_take_gradient_", c10::DispatchKey::CPU, TORCH_FN(take_gradient));
  library.impl("cross_entropy_take_gradient_", c10::DispatchKey::Meta, TORCH_FN(take_gradient_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("cross_entropy_forward", c10::DispatchKey::CUDA, TORCH_FN(forward));
  library.impl("cross_entropy_backward", c10::DispatchKey::CUDA, TORCH_FN(backward));
  library.impl("cross_entropy_take_gradient_", c10::DispatchKey::CUDA, TORCH_FN(take_gradient));
#endif
  library.impl("cross_entropy_backward", c10::DispatchKey::Autograd, TORCH_FN(backward_autograd));
  library.impl("cross_entropy_take_gradient_", c10::DispatchKey::Autograd, TORCH_FN(take_gradient_autograd));
}

}  // namespace mpeft::ops
