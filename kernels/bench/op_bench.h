#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

// defines: BenchShape, BenchRow, bench_selective_scan, bench_causal_conv1d, bench_rms_norm,
// bench_cross_entropy

namespace mpeft::ops {

/// Sizes of one measurement; an operator reads those it knows.
struct BenchShape {
  int64_t batch = 1;
  int64_t seqlen = 512;
  int64_t channels = 1536;  ///< d_inner of the scan and the convolution, d_model of the norm, vocabulary of the loss
  int64_t d_state = 16;     ///< scan
  int64_t width = 4;        ///< convolution
};

/// One measurement. Rates count the work of the operator, not of the implementation.
struct BenchRow {
  std::string op;     ///< "scan", "conv", "norm", "loss"
  std::string pass;   ///< "inference" (nothing kept), "forward" (with all the backward needs), "backward" (every
                      ///< gradient), "in place" (loss and gradient at once)
  std::string dtype;  ///< "Float", "BFloat16", "Half"
  BenchShape shape;
  int threads = 0;             ///< CPU threads; 0 on a GPU
  std::string implementation;  ///< "cuda", or the CPU's instruction set: "avx512", "avx2", "baseline"
  double ms = 0;               ///< median
  double giga_elements =
      0;  ///< 1e9 elements a second: (batch, step, channel, state) for the scan, else (batch, step, channel)
  double giga_elements_per_core = 0;  ///< CPU: divided by the threads
  double gigabytes = 0;               ///< 1e9 bytes a second: every input read once, every output written once
  double floor_ms = 0;  ///< the least time the GPU could take (memory; for the scan also its exponentials and its
                        ///< instruction issue); 0: unknown
  double percent_of_floor = 0;  ///< 100 floor_ms / ms
};

/// Measures an operator on each shape. First compares it with the fp64 reference on a small case of the same device and
/// dtype, and throws c10::Error instead of timing a wrong answer. dtype: kFloat, kBFloat16 or kHalf. CUDA: events
/// around back-to-back calls; CPU: steady clock, with as many threads as LibTorch is set to use.
std::vector<BenchRow> bench_selective_scan(at::Device device, at::ScalarType dtype,
                                           const std::vector<BenchShape>& shapes);
std::vector<BenchRow> bench_causal_conv1d(at::Device device, at::ScalarType dtype,
                                          const std::vector<BenchShape>& shapes);
std::vector<BenchRow> bench_rms_norm(at::Device device, at::ScalarType dtype, const std::vector<BenchShape>& shapes);
std::vector<BenchRow> bench_cross_entropy(at::Device device, at::ScalarType dtype,
                                          const std::vector<BenchShape>& shapes);

}  // namespace mpeft::ops
