#include "kernels/glue/device_graph.h"

#include <c10/util/Exception.h>
#ifdef MPEFT_HAS_CUDA
#include <map>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace mpeft::ops {

struct DeviceGraph::State {
#ifdef MPEFT_HAS_CUDA
  at::cuda::CUDAGraph graph;
#endif
};

#ifdef MPEFT_HAS_CUDA
namespace {

// One for all recordings on a device: cuBLAS keeps tens of megabytes for each stream that it has seen, and the
// allocator reuses memory within one stream only.
c10::cuda::CUDAStream recording_stream(at::Device device) {
  thread_local std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const auto known = streams.find(device.index());
  if (known != streams.end()) return known->second;
  return streams.emplace(device.index(), c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()))
      .first->second;
}

}  // namespace
#endif

DeviceGraph::DeviceGraph() = default;
DeviceGraph::~DeviceGraph() = default;
DeviceGraph::DeviceGraph(DeviceGraph&&) noexcept = default;
DeviceGraph& DeviceGraph::operator=(DeviceGraph&&) noexcept = default;

bool DeviceGraph::is_available([[maybe_unused]] at::Device device) {
#ifdef MPEFT_HAS_CUDA
  return device.is_cuda();
#else
  return false;
#endif
}

bool DeviceGraph::is_recorded() const { return state_ != nullptr; }

void DeviceGraph::record([[maybe_unused]] at::Device device, [[maybe_unused]] const std::function<void()>& body,
                         [[maybe_unused]] const DeviceGraph* memory_of, [[maybe_unused]] bool releases_cached) {
  TORCH_CHECK(is_available(device), "graphs are recorded on a GPU, not on ", device);
  TORCH_CHECK(memory_of == nullptr || memory_of->is_recorded(), "a graph without memory cannot share it");
#ifdef MPEFT_HAS_CUDA
  const c10::cuda::CUDAGuard device_guard(device);
  state_.reset();
  auto state = std::make_unique<State>();
  const auto stream = recording_stream(device);
  c10::cuda::getCurrentCUDAStream().synchronize();
  {
    const c10::cuda::CUDAStreamGuard stream_guard(stream);
    body();  // library handles and workspaces of this stream come to be outside of the recording
    stream.synchronize();
    if (releases_cached) c10::cuda::CUDACachingAllocator::emptyCache();
    state->graph.capture_begin(memory_of != nullptr ? memory_of->state_->graph.pool() : at::cuda::MempoolId_t{0, 0});
    try {
      body();
    } catch (...) {
      try {
        state->graph.capture_end();  // else every later allocation of this process would count as recorded
      } catch (const std::exception&) {
        // the recording failed because of the first exception, which says why
      }
      throw;
    }
    state->graph.capture_end();
  }
  state_ = std::move(state);
#endif
}

void DeviceGraph::replay() {
  TORCH_CHECK(is_recorded(), "nothing was recorded");
#ifdef MPEFT_HAS_CUDA
  state_->graph.replay();
#endif
}

}  // namespace mpeft::ops
