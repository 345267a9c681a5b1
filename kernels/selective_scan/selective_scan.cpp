#include "kernels/selective_scan/selective_scan.h"

#include <type_traits>

#include <torch/library.h>

#include "kernels/glue/autograd.h"
#include "kernels/registration.h"
#include "kernels/selective_scan/cpu.h"
#include "kernels/selective_scan/torch_halves.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/glue/cuda.h"
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops {

void register_selective_scan(torch::Library& library);

namespace scan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

}  // namespace
}  // namespace scan

std::tuple<at::Tensor, at::Tensor> selective_scan(const SelectiveScanArgs& args) {
  ensure_registered();
  static const auto op = find_op<std::remove_pointer_t<decltype(&scan::scan_autograd)>>("mpeft::selective_scan");
  return op.call(args.u, args.delta, args.A, args.B, args.C, args.D, args.z, args.delta_bias, args.initial_state,
                 args.lengths, args.delta_softplus, args.state_offset, args.out_offset, args.B_scale, args.B_bias,
                 args.C_scale, args.C_bias, args.cu_seqlens, args.compact_states);
}

void register_selective_scan(torch::Library& library) {
  library.def(torch::schema(("selective_scan(" + scan::schema_of_inputs("=None") +
                             ", bool compact_states=False) -> (Tensor out, Tensor last_state)")
                                .c_str()));
  library.impl("selective_scan", c10::DispatchKey::CompositeExplicitAutograd, TORCH_FN(scan::scan_without_graph));
  library.impl("selective_scan", c10::DispatchKey::Autograd, TORCH_FN(scan::scan_autograd));
  scan::register_forward(library);
  scan::register_backward(library);
}

}  // namespace mpeft::ops
