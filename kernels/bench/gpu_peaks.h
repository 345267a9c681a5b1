#pragma once

#include <ATen/core/Tensor.h>

// defines: GpuPeaks, gpu_peaks

namespace mpeft::ops {

/// What a GPU can do at most in a millisecond; zeros where nothing is known (no GPU, built without CUDA).
struct GpuPeaks {
  double bytes = 0;         ///< of memory traffic: nine tenths of the nominal bandwidth, which a copy reaches
  double exponentials = 0;  ///< special functions: 16 a clock and multiprocessor
  double instructions = 0;  ///< lane instructions: 4 warps a clock and multiprocessor
  double flops = 0;         ///< dense matrix products of the dtype: tensor cores for bf16 and fp16, else the fp32 lanes
};

GpuPeaks gpu_peaks(at::Device device, at::ScalarType dtype);

}  // namespace mpeft::ops
