#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/bench/measure.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace mpeft::ops {
namespace {

/// Losses, then the gradient that took the place of the logits.
std::vector<at::Tensor> losses_and_gradient(const at::Tensor& logits, const at::Tensor& labels) {
  auto taken = logits.clone();
  const auto losses = cross_entropy_take_gradient_(taken, labels);
  return {losses, taken};
}

}  // namespace

std::vector<BenchRow> bench_cross_entropy(at::Device device, at::ScalarType dtype,
                                          const std::vector<BenchShape>& shapes) {
  const auto wide = at::TensorOptions().dtype(at::kFloat).device(device);
  const auto drawn_labels = [&](int64_t rows, int64_t columns) {
    return at::randint(columns, {rows}, wide.dtype(at::kLong));
  };
  {
    const auto logits = at::randn({67, 1003}, wide).mul(3).to(dtype), labels = drawn_labels(67, 1003);
    check_against_reference("cross_entropy", dtype, losses_and_gradient(logits, labels),
                            losses_and_gradient(logits.to(at::kCPU, at::kDouble), labels.to(at::kCPU)));
  }
  std::vector<BenchRow> rows;
  for (const auto& s : shapes) {
    const int64_t n = s.batch * s.seqlen;
    auto logits = at::randn({n, s.channels}, wide).to(dtype);
    const auto labels = drawn_labels(n, s.channels);
    const double points = static_cast<double>(n) * s.channels, size = at::elementSize(dtype);
    rows.push_back(make_row("loss", "inference", device, dtype, s, {points, points * size, points, 0},
                            median_ms(device, [&] { cross_entropy_and_prediction(logits, labels); })));
    // The gradients overwrite the logits of the first call; later calls take those for logits, which costs the same.
    rows.push_back(make_row("loss", "in place", device, dtype, s, {points, points * 2 * size, 2 * points, 0},
                            median_ms(device, [&] { cross_entropy_take_gradient_(logits, labels); })));
  }
  return rows;
}

}  // namespace mpeft::ops
