// The selective scan's CUDA kernels on rows more than 2^31 elements apart: the same as next to each other.
#include <random>
#include <string>
#include <vector>

#include "kernels/selective_scan/selective_scan_launch.h"

#include "tests/cuda/checks.h"

namespace mpeft::cuda_check {

using kernels::SelectiveScanBwdParams;
using kernels::SelectiveScanFwdParams;
using kernels::SelectiveScanInputs;

void check_scan_far_apart(Report& report) {
  using scalar_t = __nv_bfloat16;
  constexpr int64_t kRows = 2, kSteps = 70, kChannels = 64, kStates = 16, kTensors = 7,
                    kFar = (int64_t{1} << 31) + 4096;
  Report::dtype = "bf16";
  // near: rows next to each other; far: the second row begins more than 2^31 elements after the first
  auto run = [&](int64_t stride, int shape, kernels::ScanBwdKernel kernel, int64_t every) {
    const size_t size = static_cast<size_t>(stride + kSteps * kChannels);
    const DeviceArray<scalar_t> buffer(kTensors * kSteps * kChannels + size);
    auto place = [&](int64_t i) {
      return kernels::Sequence<scalar_t>{buffer.data() + i * kSteps * kChannels, stride, kChannels};
    };
    const DeviceArray<scalar_t> out(kRows * kSteps * kChannels), y(kRows * kSteps * kChannels);
    const DeviceArray<scalar_t> BC(std::vector<scalar_t>(kRows * kSteps * kStates, __float2bfloat16(0.5f)));
    const DeviceArray<float> A(std::vector<float>(kChannels * kStates, -1.f));
    const DeviceArray<float> checkpoints(
        static_cast<size_t>(kernels::n_row_parts(kRows, kSteps, false, every) * kChannels * kStates));
    std::vector<scalar_t> values(kSteps * kChannels);
    for (int i = 0; i < 4; ++i) {
      for (int64_t row = 0; row < kRows; ++row) {
        std::mt19937 random(static_cast<unsigned>(10 * i + row));
        std::normal_distribution<double> normal;
        for (scalar_t& x : values) from_double(normal(random), x);
        MPEFT_CUDA_REQUIRE(cudaMemcpy(place(i).data + row * stride, values.data(), values.size() * sizeof(scalar_t),
                                      cudaMemcpyHostToDevice));
      }
    }
    auto constant = [](const kernels::Sequence<scalar_t>& s) {
      return kernels::Sequence<const scalar_t>{s.data, s.batch_stride, s.time_stride};
    };
    auto inputs = [&](SelectiveScanInputs<scalar_t>& p) {
      p.batch = kRows, p.seqlen = kSteps, p.d_inner = kChannels, p.d_state = kStates, p.delta_softplus = true;
      p.u = constant(place(0)), p.delta = constant(place(1)), p.z = constant(place(2));
      p.B = {BC.data(), kSteps * kStates, kStates}, p.C = p.B, p.A = A.data();
    };
    SelectiveScanFwdParams<scalar_t> f;
    inputs(f);
    f.out = out.data(), f.checkpoints = checkpoints.data(), f.checkpoint_every = every;
    if (every == kernels::kSelectiveScanCheckpointEvery) f.y = y.data();
    cudaError_t error = cudaErrorNotSupported;  // on devices without roles
    if (shape >= 0) error = kernels::launch_selective_scan_fwd_roles(f, shape, cudaStreamPerThread);
    if (error == cudaErrorNotSupported) error = kernels::launch_selective_scan_fwd(f, cudaStreamPerThread);
    MPEFT_CUDA_REQUIRE(error);
    SelectiveScanBwdParams<scalar_t> b;
    inputs(b);
    b.dout = constant(place(3)), b.checkpoints = f.checkpoints, b.checkpoint_every = f.checkpoint_every;
    b.du = place(4), b.ddelta = place(5), b.dz = place(6);
    b.y = f.y, b.kernel = kernel;
    const DeviceArray<char> workspace(static_cast<size_t>(kernels::selective_scan_bwd_workspace_bytes(b)));
    MPEFT_CUDA_REQUIRE(kernels::launch_selective_scan_bwd(b, workspace.data(), cudaStreamPerThread));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(cudaStreamPerThread));
    std::vector<double> results;
    for (const scalar_t x : out.download()) results.push_back(to_double(x));
    for (int i = 4; i < kTensors; ++i) {
      for (int64_t row = 0; row < kRows; ++row) {
        MPEFT_CUDA_REQUIRE(cudaMemcpy(values.data(), place(i).data + row * stride, values.size() * sizeof(scalar_t),
                                      cudaMemcpyDeviceToHost));
        for (const scalar_t x : values) results.push_back(to_double(x));
      }
    }
    return results;
  };
  auto check = [&](int shape, kernels::ScanBwdKernel kernel, int64_t every) {
    report.require(run(kTensors * kSteps * kChannels, shape, kernel, every) == run(kFar, shape, kernel, every),
                   "scan: rows more than 2^31 elements apart, shape " + std::to_string(shape) + ", backward " +
                       std::to_string(static_cast<int>(kernel)) + ", a state every " + std::to_string(every));
  };
  for (const auto kernel : {kernels::ScanBwdKernel::kTiles, kernels::ScanBwdKernel::kRoles}) {
    for (int shape = -1; shape < kernels::kSelectiveScanRolesShapes; ++shape) {  // -1: what the forward chooses
      check(shape, kernel, kernels::kSelectiveScanCheckpointEvery);
    }
    check(-1, kernel, kernels::kSelectiveScanCompactEvery);
  }
}

}  // namespace mpeft::cuda_check
