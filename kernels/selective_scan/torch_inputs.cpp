#include "kernels/selective_scan/torch_inputs.h"

#include <utility>

#include "kernels/glue/autograd.h"
#include "kernels/selective_scan/cpu.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops::scan {

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

std::string schema_of_inputs(const std::string& absent) {
  std::string text =
      "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias, "
      "Tensor? initial_state, Tensor? lengths, bool delta_softplus";
  for (const char* name : {"state_offset", "out_offset", "B_scale", "B_bias", "C_scale", "C_bias", "cu_seqlens"}) {
    text += std::string(", Tensor? ") + name + absent;
  }
  return text;
}

std::vector<int64_t> checkpoint_sizes(const Inputs& in, int64_t every) {
  const int64_t outer = in.packed() ? 1 : in.rows();
  const int64_t kept =
      every > 0 ? kernels::n_row_parts(in.packed() ? in.rows() : 1, in.seqlen(), in.packed(), every) : 0;
  return {every > 0 ? outer : 0, kept, in.d_inner(), in.d_state()};
}

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

}  // namespace mpeft::ops::scan
