// The selective scan's exponentials and softplus by themselves: an error too small for a few hundred steps to show
// would still grow over thousands.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/selective_scan/scan_math.cuh"

#include "tests/cuda/checks.h"

namespace mpeft::cuda_check {
namespace {

enum Exponential { kDegree4, kDegree5, kDecay16Bit, kDecayFloat, kExponentials };

__global__ void exponentials_kernel(const float* x, float* results, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  results[kDegree4 * count + i] = kernels::exp2_polynomial<4>(x[i]);
  results[kDegree5 * count + i] = kernels::exp2_polynomial<5>(x[i]);
  results[kDecay16Bit * count + i] = kernels::decay<__nv_bfloat16>(x[i]);
  results[kDecayFloat * count + i] = kernels::decay<float>(x[i]);
}

/// softplus(x) in units of ln 2: first by one logarithm, then by the polynomial.
__global__ void softplus_kernel(const float* x, float* results, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const float raw[1] = {x[i]}, bias[1] = {0.f};
  float value[1];
  kernels::softplus_delta<__nv_bfloat16>(value, nullptr, raw, bias, true);
  results[i] = value[0];
  kernels::softplus_delta_polynomial<__nv_bfloat16>(value, raw, bias, true);
  results[count + i] = value[0];
}

void check_softplus(Report& report) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> x{0.f, -0.f, kInfinity, 1e30f, -1e30f, -kInfinity};
  const size_t edges = x.size();
  for (int i = -30 << 12; i <= 30 << 12; ++i) x.push_back(static_cast<float>(i) / (1 << 12));
  const int count = static_cast<int>(x.size());
  const DeviceArray<float> points(x), results(2 * x.size());
  softplus_kernel<<<(count + 255) / 256, 256, 0, cudaStreamPerThread>>>(points.data(), results.data(), count);
  MPEFT_CUDA_REQUIRE(cudaGetLastError());
  MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  const std::vector<float> found = results.download();
  // what scan_math.cuh says (2^-22 is 1.7e-4 of the least logarithm taken), and what rounding x log2(e) near 43 adds
  constexpr double kBounds[2] = {2.3e-4, 1.05e-5};
  for (int which = 0; which < 2; ++which) {
    const float* of_x = found.data() + which * x.size();
    const std::string name = which == 0 ? "scan: softplus" : "scan: softplus by a polynomial";
    double worst = 0;
    bool within = true;
    for (size_t i = edges; i < x.size(); ++i) {
      const double error = std::fabs(of_x[i] * std::log(2.) / std::log1p(std::exp(static_cast<double>(x[i]))) - 1);
      within = within && error <= kBounds[which];  // false of a NaN too
      worst = std::fmax(worst, error);
    }
    report.require(within, name + " is off by " + std::to_string(worst * 1e9) + "e-9");
    report.require(std::fabs(of_x[0] - 1) <= kBounds[which] && std::fabs(of_x[1] - 1) <= kBounds[which],
                   name + " of 0");
    report.require(of_x[2] == kInfinity && of_x[3] > 1.44e30f && of_x[4] == 0.f && of_x[5] == 0.f,
                   name + " far from 0");
  }
}

}  // namespace

void check_scan_math(Report& report) {
  check_softplus(report);
  std::vector<float> x{0.f};
  for (int i = 1; i < (1 << 18); ++i) x.push_back(-125.f * static_cast<float>(i) / (1 << 18));  // no result is denormal
  for (float small = -0.5f; small < -1e-9f; small *= 0.999f) x.push_back(small);
  const int count = static_cast<int>(x.size());
  const DeviceArray<float> points(x), results(static_cast<size_t>(kExponentials) * x.size());
  exponentials_kernel<<<(count + 255) / 256, 256, 0, cudaStreamPerThread>>>(points.data(), results.data(), count);
  MPEFT_CUDA_REQUIRE(cudaGetLastError());
  MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
  const std::vector<float> found = results.download();
  // what scan_math.cuh says of the polynomials; two units in the last place of 2^x, a little over one of e^x
  constexpr double kBounds[kExponentials] = {6e-6, 2e-7, 2.4e-7, 1.5e-7};
  for (int which = 0; which < kExponentials; ++which) {
    double worst = 0;
    bool within = true;
    for (int i = 0; i < count; ++i) {
      if (which == kDecayFloat && x[i] < -85.f) continue;
      const double at = x[i], exact = which == kDecayFloat ? std::exp(at) : std::exp2(at);
      const double error = std::fabs(found[static_cast<size_t>(which) * x.size() + i] / exact - 1);
      within = within && error <= kBounds[which];  // false of a NaN too
      worst = std::fmax(worst, error);
    }
    const std::string name = "scan: exponential " + std::to_string(which);
    report.require(within, name + " is off by " + std::to_string(worst * 1e9) + "e-9");
    report.require(found[static_cast<size_t>(which) * x.size()] == 1.f, name + " of 0");
  }
}

}  // namespace mpeft::cuda_check
