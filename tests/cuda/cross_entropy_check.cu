// Correctness and times of cross_entropy's CUDA kernels, against the fp64 reference.
#include "kernels/cross_entropy/cross_entropy_launch.h"
#include "kernels/cross_entropy/reference.h"

#include "tests/cuda/checks.h"
#include "tests/cuda/timing.h"

namespace mpeft::cuda_check {
namespace {

using namespace kernels;

template <typename scalar_t>
void cross_entropy(const CrossEntropyCase& c, DType dtype, Report& report) {
  const int64_t pitch = c.columns + c.gap, n_valid = c.n_valid > 0 ? c.n_valid : c.columns;
  Tensor<scalar_t> logits(1, c.rows, c.columns, pitch, c.offset), dlogits(1, c.rows, c.columns);
  Tensor<float> losses(1, 1, c.rows), normaliser(1, c.rows, 2), dlosses(1, 1, c.rows);
  std::mt19937 random(static_cast<unsigned>(c.rows * 31 + c.columns));
  logits.fill(random);
  for (double& x : logits.values()) {
    scalar_t rounded;
    from_double(4 * x, rounded);
    x = to_double(rounded);
  }
  dlosses.fill(random);
  dlosses.upload();
  // NaN between the rows: reading it shows in the results, writing it in the comparison
  for (int64_t i = 0; i < static_cast<int64_t>(logits.values().size()); ++i) {
    if (i < c.offset || (i - c.offset) % pitch >= c.columns) logits.values()[static_cast<size_t>(i)] = std::nan("");
  }
  logits.upload();
  std::vector<int64_t> labels;
  for (int64_t row = 0; row < c.rows; ++row) {
    labels.push_back(row == 1 ? n_valid - 1 : row == 2 ? -100 : (row * 7919) % n_valid);
  }
  const DeviceArray<int64_t> labels_device(labels);
  DeviceArray<int64_t> predicted(static_cast<size_t>(c.rows));
  std::vector<int64_t> predicted_host(static_cast<size_t>(c.rows));
  constexpr double kScale = 2.5;

  const auto inputs = [&](auto& p, auto* data, const int64_t* label) {
    p.rows = c.rows, p.columns = c.columns, p.n_valid = n_valid;
    p.logits = data, p.row_stride = pitch, p.labels = label;
  };
  const auto forward = [&](bool in_place) {
    CrossEntropyFwdParams<scalar_t> p;
    inputs(p, logits.device_data(), labels_device.data());
    p.losses = losses.device_data(), p.normaliser = normaliser.device_data(), p.gradient_scale = kScale;
    if (in_place) p.dlogits = logits.device_data();
    if (!in_place) p.predicted = predicted.data();
    for (Tensor<float>* t : {&losses, &normaliser}) t->array().poison();
    MPEFT_CUDA_REQUIRE(launch_cross_entropy_fwd(p, cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  };
  const auto backward = [&] {
    CrossEntropyBwdParams<scalar_t> p;
    inputs(p, static_cast<const scalar_t*>(logits.device_data()), labels_device.data());
    p.normaliser = normaliser.device_data(), p.dlosses = dlosses.device_data(), p.dlogits = dlogits.device_data();
    dlogits.array().poison();
    MPEFT_CUDA_REQUIRE(launch_cross_entropy_bwd(p, cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  };

  CrossEntropyFwdParams<double> f;
  inputs(f, logits.host_data(), labels.data());
  f.losses = losses.host_data(), f.normaliser = normaliser.host_data(), f.predicted = predicted_host.data();
  cross_entropy_fwd_reference(f);
  CrossEntropyBwdParams<double> g;
  inputs(g, static_cast<const double*>(logits.host_data()), labels.data());
  g.normaliser = normaliser.host_data(), g.dlosses = dlosses.host_data(), g.dlogits = dlogits.host_data();
  cross_entropy_bwd_reference(g);

  char text[160];
  std::snprintf(text, sizeof text, "loss %s rows%d columns%d valid%d gap%d offset%d", name_of(dtype), (int)c.rows,
                (int)c.columns, (int)n_valid, (int)c.gap, (int)c.offset);
  const double stored = dtype == DType::kFloat32 ? 3e-6 : dtype == DType::kFloat16 ? 6e-4 : 3e-3;
  forward(/*in_place=*/false);
  report.compare("loss", "losses", losses, 2e-6, text);
  report.compare("loss", "normaliser", normaliser, 2e-6, text);
  report.require(predicted.download() == predicted_host, std::string(text) + ": predicted columns differ");
  backward();
  report.compare("loss", "dlogits", dlogits, stored, text);
  const auto first = dlogits.array().download();
  backward();
  const auto again = dlogits.array().download();
  report.require(std::memcmp(first.data(), again.data(), first.size() * sizeof(scalar_t)) == 0,
                 std::string(text) + ": dlogits differs between two runs");

  const auto before = logits.array().download();
  forward(/*in_place=*/true);
  report.compare("loss", "losses in place", losses, 2e-6, text);
  const auto taken = logits.array().download();
  MPEFT_CUDA_REQUIRE(
      cudaMemcpy(logits.array().data(), before.data(), before.size() * sizeof(scalar_t), cudaMemcpyHostToDevice));
  forward(/*in_place=*/true);
  const auto taken_again = logits.array().download();
  report.require(std::memcmp(taken.data(), taken_again.data(), taken.size() * sizeof(scalar_t)) == 0,
                 std::string(text) + ": the gradient in place differs between two runs");
  f.dlogits = logits.host_data(), f.gradient_scale = kScale;
  cross_entropy_fwd_reference(f);
  report.compare("loss", "dlogits in place", logits, stored, text);
}

}  // namespace

void check_cross_entropy(const CrossEntropyCase& c, DType dtype, Report& report) {
  Report::dtype = name_of(dtype);
  if (dtype == DType::kBFloat16) return cross_entropy<__nv_bfloat16>(c, dtype, report);
  if (dtype == DType::kFloat16) return cross_entropy<__half>(c, dtype, report);
  cross_entropy<float>(c, dtype, report);
}

std::vector<CrossEntropyCase> cross_entropy_cases(bool all) {
  std::vector<CrossEntropyCase> cases{{3, 61, 0, 0, 0}, {4, 1000, 700, 3, 1}, {2, 50277, 0, 0, 0}};
  if (!all) return cases;
  for (const int64_t columns : {1, 2, 7, 8, 16, 61, 1000, 4096, 50277, 50280, 131072}) {
    for (const int64_t gap : {0, 1, 8}) cases.push_back({columns > 5000 ? 5 : 33, columns, 0, gap, gap * 3});
    cases.push_back({5, columns, (columns + 2) / 3, 0, 0});
  }
  return cases;
}

void time_cross_entropy() {
  using scalar_t = __nv_bfloat16;
  constexpr int64_t kColumns = 50280;
  for (const int64_t rows : {16, 64, 256, 1024, 2048, 8192}) {
    auto logits = drawn<scalar_t>(rows * kColumns);
    DeviceArray<int64_t> labels(std::vector<int64_t>(static_cast<size_t>(rows), 77));
    DeviceArray<float> losses(static_cast<size_t>(rows)), normaliser(static_cast<size_t>(2 * rows));
    DeviceArray<int64_t> predicted(static_cast<size_t>(rows));
    CrossEntropyFwdParams<scalar_t> p;
    p.rows = rows, p.columns = kColumns, p.n_valid = kColumns;
    p.logits = logits.data(), p.row_stride = kColumns, p.labels = labels.data();
    p.losses = losses.data(), p.normaliser = normaliser.data();
    const double forward = median_ms([&] { MPEFT_CUDA_REQUIRE(launch_cross_entropy_fwd(p, nullptr)); });
    p.predicted = predicted.data();
    const double predicting = median_ms([&] { MPEFT_CUDA_REQUIRE(launch_cross_entropy_fwd(p, nullptr)); });
    p.predicted = nullptr, p.dlogits = logits.data();
    const double in_place = median_ms([&] { MPEFT_CUDA_REQUIRE(launch_cross_entropy_fwd(p, nullptr)); });
    const double bytes = static_cast<double>(rows * kColumns) * sizeof(scalar_t);
    std::printf("loss %5d,%6d forward %.4f %5.0f GB/s  with prediction %.4f  in place %.4f %5.0f GB/s\n", (int)rows,
                (int)kColumns, forward, bytes * 1e-6 / forward, predicting, in_place, 2 * bytes * 1e-6 / in_place);
  }
}

}  // namespace mpeft::cuda_check
