#pragma once

#include <cuda_runtime.h>

#include "tests/cuda/device_array.h"

// defines: Replay

namespace mpeft::cuda_check {

/// Launches captured once in a CUDA graph, to be replayed; by one thread.
class Replay {
 public:
  /// launch: called once with the stream to launch into; allocates nothing.
  template <typename Launch>
  explicit Replay(const Launch& launch) {
    MPEFT_CUDA_REQUIRE(cudaStreamCreate(&stream_));
    MPEFT_CUDA_REQUIRE(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    launch(stream_);
    cudaGraph_t graph;
    MPEFT_CUDA_REQUIRE(cudaStreamEndCapture(stream_, &graph));
    MPEFT_CUDA_REQUIRE(cudaGraphInstantiate(&executable_, graph, 0));
    MPEFT_CUDA_REQUIRE(cudaGraphDestroy(graph));
  }
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay() {
    cudaGraphExecDestroy(executable_);
    cudaStreamDestroy(stream_);
  }

  /// Returns when all of it is done.
  void run() {
    MPEFT_CUDA_REQUIRE(cudaGraphLaunch(executable_, stream_));
    MPEFT_CUDA_REQUIRE(cudaStreamSynchronize(stream_));
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace mpeft::cuda_check
