#include "kernels/selective_scan/cpu.h"
#include "kernels/selective_scan/torch_halves.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/glue/cuda.h"
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops::scan {
namespace {

struct ForwardOutputs {
  Tensor out, last_state, checkpoints, y;
};

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

}  // namespace

const c10::TypedOperatorHandle<ForwardSignature>& forward_op() {
  static const auto op = find_op<ForwardSignature>("mpeft::selective_scan_forward");
  return op;
}

void register_forward(torch::Library& library) {
  library.def(torch::schema(
      ("selective_scan_forward(" + schema_of_inputs("") +
       ", int checkpoint_every, bool keep_y) -> (Tensor out, Tensor last_state, Tensor checkpoints, Tensor y)")
          .c_str()));
  library.impl("selective_scan_forward", c10::DispatchKey::CPU, TORCH_FN(forward_cpu));
  library.impl("selective_scan_forward", c10::DispatchKey::Meta, TORCH_FN(forward_meta));
#ifdef MPEFT_HAS_CUDA
  library.impl("selective_scan_forward", c10::DispatchKey::CUDA, TORCH_FN(forward_cuda));
#endif
}

}  // namespace mpeft::ops::scan
