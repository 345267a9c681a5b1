#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/bench/measure.h"
#include "kernels/selective_scan/cpu.h"
#include "kernels/selective_scan/selective_scan.h"
#ifdef MPEFT_HAS_CUDA
#include "kernels/selective_scan/selective_scan_launch.h"
#endif

namespace mpeft::ops {
namespace {

int64_t checkpoint_every([[maybe_unused]] at::Device device) {
#ifdef MPEFT_HAS_CUDA
  if (device.is_cuda()) return kernels::kSelectiveScanCheckpointEvery;
#endif
  return kernels::kCpuCheckpointEvery;
}

SelectiveScanArgs make_inputs(at::Device device, at::ScalarType dtype, const BenchShape& s) {
  const auto wide = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto normal = [&](at::IntArrayRef sizes) { return at::randn(sizes, wide).to(dtype); };
  SelectiveScanArgs a;
  a.u = normal({s.batch, s.seqlen, s.channels});
  a.delta = (at::randn({s.batch, s.seqlen, s.channels}, wide) * 0.5 - 1).to(dtype);
  a.A = -at::arange(1, s.d_state + 1, wide).expand({s.channels, s.d_state}).contiguous();  // the usual initial values
  a.B = normal({s.batch, s.seqlen, s.d_state});
  a.C = normal({s.batch, s.seqlen, s.d_state});
  a.D = at::ones({s.channels}, wide);
  a.z = normal({s.batch, s.seqlen, s.channels});
  a.delta_bias = at::rand({s.channels}, wide) * 0.5;
  return a;
}

std::vector<at::Tensor> out_and_gradients(SelectiveScanArgs a, const at::Tensor& dout) {
  std::vector<at::Tensor> leaves;
  for (at::Tensor* t : {&a.u, &a.delta, &a.A, &a.B, &a.C, &*a.D, &*a.z, &*a.delta_bias}) {
    *t = t->detach().requires_grad_();
    leaves.push_back(*t);
  }
  const auto out = std::get<0>(selective_scan(a));
  auto results = torch::autograd::grad({out}, leaves, {dout});
  results.insert(results.begin(), out);
  return results;
}

void validate(at::Device device, at::ScalarType dtype, int64_t d_state) {
  const auto a = make_inputs(device, dtype, {2, 67, 40, d_state});
  const auto dout = at::randn_like(a.u);
  const auto twin = [](const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  const SelectiveScanArgs in_double{twin(a.u),  twin(a.delta),       twin(a.A),    twin(a.B), twin(a.C), twin(*a.D),
                                    twin(*a.z), twin(*a.delta_bias), std::nullopt, {},        true};
  check_against_reference("selective_scan", dtype, out_and_gradients(a, dout),
                          out_and_gradients(in_double, twin(dout)));
}

}  // namespace

std::vector<BenchRow> bench_selective_scan(at::Device device, at::ScalarType dtype,
                                           const std::vector<BenchShape>& shapes) {
  std::vector<BenchRow> rows;
  const int64_t every = checkpoint_every(device);
  for (const auto& s : shapes) {
    validate(device, dtype, s.d_state);
    const auto a = make_inputs(device, dtype, s);
    const auto dout = at::randn_like(a.u);
    const c10::IValue none;
    // as the autograd kernel does: selective_scan_keeps_y
    const bool keeps_y = device.is_cuda() && at::elementSize(dtype) == 2 && s.d_state == 16;
    const std::vector<c10::IValue> inputs{a.u,  a.delta, a.A,  a.B,  a.C,  *a.D, *a.z, *a.delta_bias, none,
                                          none, true,    none, none, none, none, none, none,          none};
    const auto forward = [&](int64_t keep) {
      auto arguments = inputs;
      arguments.emplace_back(keep);
      arguments.emplace_back(keep > 0 && keeps_y);
      return call_op("mpeft::selective_scan_forward", std::move(arguments));
    };
    const auto kept_for_backward = forward(every);
    const c10::IValue checkpoints = kept_for_backward[2], y = keeps_y ? kept_for_backward[3] : none;
    const auto backward = [&] {
      std::vector<c10::IValue> arguments{dout, none};
      arguments.insert(arguments.end(), inputs.begin(), inputs.end());
      c10::List<bool> mask;
      for (int i = 0; i < 15; ++i) mask.push_back(i < 8);
      for (const c10::IValue& last : {checkpoints, c10::IValue(every), y, c10::IValue(mask)}) arguments.push_back(last);
      call_op("mpeft::selective_scan_backward", std::move(arguments));
    };

    // Per channel and step: u, delta, z, out; kept states. Per step: B, C. The counts of exponentials and instructions
    // are those of the kernels' inner loops, per element 1 and 8.9 forward, 2 and 27.6 backward, and 3 and 6 a channel
    // and step.
    const double points = static_cast<double>(s.batch) * s.seqlen * s.channels,
                 tokens = static_cast<double>(s.batch) * s.seqlen;
    const double elements = points * s.d_state, size = at::elementSize(dtype);
    const double kept = (4.0 * s.d_state / every + (keeps_y ? size : 0)) * points;
    const Work inference{elements, points * 4 * size + tokens * 2 * s.d_state * size, elements + 3 * points,
                         8.9 * elements};
    Work with_kept = inference;
    with_kept.bytes += kept;
    const Work gradients{elements, points * 7 * size + tokens * 4 * s.d_state * size + kept, 2 * elements + 6 * points,
                         27.6 * elements};
    rows.push_back(make_row("scan", "inference", device, dtype, s, inference, median_ms(device, [&] { forward(0); })));
    rows.push_back(
        make_row("scan", "forward", device, dtype, s, with_kept, median_ms(device, [&] { forward(every); })));
    rows.push_back(make_row("scan", "backward", device, dtype, s, gradients, median_ms(device, backward)));
  }
  return rows;
}

}  // namespace mpeft::ops
