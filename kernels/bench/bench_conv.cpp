#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/bench/measure.h"
#include "kernels/causal_conv1d/causal_conv1d.h"

namespace mpeft::ops {
namespace {

std::vector<at::Tensor> out_and_gradients(const at::Tensor& x_in, const at::Tensor& weight_in,
                                          const at::Tensor& bias_in, const at::Tensor& dout) {
  const auto x = x_in.detach().requires_grad_(), weight = weight_in.detach().requires_grad_(),
             bias = bias_in.detach().requires_grad_();
  const auto out = std::get<0>(causal_conv1d(x, weight, bias, {}, {}, true));
  auto results = torch::autograd::grad({out}, {x, weight, bias}, {dout});
  results.insert(results.begin(), out);
  return results;
}

}  // namespace

std::vector<BenchRow> bench_causal_conv1d(at::Device device, at::ScalarType dtype,
                                          const std::vector<BenchShape>& shapes) {
  const auto wide = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto twin = [](const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  std::vector<BenchRow> rows;
  for (const auto& s : shapes) {
    {
      const auto x = at::randn({2, 67, 40}, wide).to(dtype), dout = at::randn_like(x);
      const auto weight = at::randn({40, s.width}, wide), bias = at::randn({40}, wide);
      check_against_reference("causal_conv1d", dtype, out_and_gradients(x, weight, bias, dout),
                              out_and_gradients(twin(x), twin(weight), twin(bias), twin(dout)));
    }
    const auto x = at::randn({s.batch, s.seqlen, s.channels}, wide).to(dtype), dout = at::randn_like(x);
    const auto weight = at::randn({s.channels, s.width}, wide), bias = at::randn({s.channels}, wide);
    const c10::IValue none;
    const std::vector<c10::IValue> inputs{x, weight, bias, none, none, true, none};
    const auto forward = [&] { call_op("mpeft::causal_conv1d", inputs); };
    const auto backward = [&] {
      std::vector<c10::IValue> arguments{dout, none};
      arguments.insert(arguments.end(), inputs.begin(), inputs.end());
      arguments.emplace_back(c10::List<bool>({true, true, true, false}));
      call_op("mpeft::causal_conv1d_backward", std::move(arguments));
    };
    const double points = static_cast<double>(s.batch) * s.seqlen * s.channels, size = at::elementSize(dtype);
    rows.push_back(
        make_row("conv", "forward", device, dtype, s, {points, points * 2 * size, 0, 0}, median_ms(device, forward)));
    rows.push_back(
        make_row("conv", "backward", device, dtype, s, {points, points * 3 * size, 0, 0}, median_ms(device, backward)));
  }
  return rows;
}

}  // namespace mpeft::ops
