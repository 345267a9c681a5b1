// The selective scan's exponentials by themselves: an error too small for a few hundred steps to show would still grow
// over thousands.
#include <cmath>
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

}  // namespace

void check_scan_math(Report& report) {
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
