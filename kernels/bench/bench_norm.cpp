#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/bench/measure.h"
#include "kernels/rms_norm/rms_norm.h"

namespace mpeft::ops {
namespace {

constexpr double kEps = 1e-5;

std::vector<at::Tensor> out_and_gradients(const at::Tensor& x_in, const at::Tensor& residual_in,
                                          const at::Tensor& weight_in, const at::Tensor& dout) {
  const auto x = x_in.detach().requires_grad_(), residual = residual_in.detach().requires_grad_(),
             weight = weight_in.detach().requires_grad_();
  const auto out = std::get<0>(rms_norm(x, residual, weight, kEps));
  auto results = torch::autograd::grad({out}, {x, residual, weight}, {dout});
  results.insert(results.begin(), out);
  return results;
}

}  // namespace

std::vector<BenchRow> bench_rms_norm(at::Device device, at::ScalarType dtype, const std::vector<BenchShape>& shapes) {
  const auto wide = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto twin = [](const at::Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  {
    const auto x = at::randn({67, 40}, wide).to(dtype), dout = at::randn_like(x);
    const auto residual = at::randn({67, 40}, wide), weight = at::randn({40}, wide);
    check_against_reference("rms_norm", dtype, out_and_gradients(x, residual, weight, dout),
                            out_and_gradients(twin(x), twin(residual), twin(weight), twin(dout)));
  }
  std::vector<BenchRow> rows;
  for (const auto& s : shapes) {
    const auto x = at::randn({s.batch, s.seqlen, s.channels}, wide).to(dtype), dout = at::randn_like(x);
    const auto residual = at::randn(x.sizes(), wide), dresidual_out = at::randn(x.sizes(), wide),
               weight = at::randn({s.channels}, wide);
    const auto forward = [&] { return call_op("mpeft::rms_norm_forward", {x, residual, weight, kEps}); };
    const auto kept = forward();
    const auto backward = [&] {
      call_op("mpeft::rms_norm_backward", {dout, dresidual_out, kept[1], weight, kept[2], static_cast<int64_t>(dtype),
                                           c10::List<bool>({true, true, true})});
    };
    const double points = static_cast<double>(s.batch) * s.seqlen * s.channels, size = at::elementSize(dtype);
    rows.push_back(make_row("norm", "forward", device, dtype, s, {points, points * (2 * size + 8), 0, 0},
                            median_ms(device, [&] { forward(); })));
    rows.push_back(make_row("norm", "backward", device, dtype, s, {points, points * (2 * size + 12), 0, 0},
                            median_ms(device, backward)));
  }
  return rows;
}

}  // namespace mpeft::ops
